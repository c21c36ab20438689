"""Measurements: each script prints its figures and has a `run()` for a collector."""
