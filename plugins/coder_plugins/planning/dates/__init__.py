"""Dates: when each task can be done, what a change would move, and when all of it will be done."""
