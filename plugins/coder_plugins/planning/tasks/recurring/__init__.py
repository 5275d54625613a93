"""Recurring: tasks that come back, one open instance at a time."""
