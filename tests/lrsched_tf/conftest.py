"""Keras fixes its backend on import, so tests that import it run in a process per backend."""

import os

# Set by test_backends.py for the processes that it starts.
collect_ignore = [] if "LRSCHED_BACKEND_TESTS" in os.environ else ["backend"]
