"""Programs that tests run in processes of their own, not modules of tests."""

collect_ignore = ["lightning_worker.py", "range_worker.py", "worker.py"]
