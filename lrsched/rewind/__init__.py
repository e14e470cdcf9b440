"""One engine that restores everything after a trial, whatever the framework."""
