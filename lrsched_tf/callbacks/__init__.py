"""Callbacks that schedule a `fit`."""
