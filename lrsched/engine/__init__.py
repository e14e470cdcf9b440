"""Schedules as data, and the only arithmetic on steps."""
