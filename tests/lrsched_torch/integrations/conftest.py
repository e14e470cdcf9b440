"""What tests here import, or run in processes of its own, is no module of tests."""

collect_ignore = [
    "lightning_training.py",
    "lightning_worker.py",
    "processes.py",
    "range_worker.py",
    "worker.py",
]
