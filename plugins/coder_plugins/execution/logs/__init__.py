"""Logs: the output of attempts, by offset, and everything of a run as it happens."""
