"""Schedulers with torch's own signatures."""
