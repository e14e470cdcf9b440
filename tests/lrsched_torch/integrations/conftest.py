"""worker.py is a program that test_two_processes.py runs, not a module of tests."""

collect_ignore = ["worker.py"]
