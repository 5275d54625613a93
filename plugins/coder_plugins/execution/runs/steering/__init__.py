"""Steering runs: stop, hold, go on, decide, signal."""
