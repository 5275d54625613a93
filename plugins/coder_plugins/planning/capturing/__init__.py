"""Capturing: typed lines made into tasks."""
