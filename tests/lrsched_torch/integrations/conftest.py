"""Programs that tests run in processes of their own, not modules of tests."""

collect_ignore = ["range_worker.py", "worker.py"]
