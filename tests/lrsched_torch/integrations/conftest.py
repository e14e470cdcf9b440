"""What tests here import, or run in processes of its own, is no module of tests."""

collect_ignore_glob = ["lightning_training.py", "processes.py", "worker*.py"]
