"""Everything put back after a trial, whatever the framework."""
