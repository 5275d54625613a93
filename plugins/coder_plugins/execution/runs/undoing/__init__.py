"""Putting back what steps of a run changed, by hand, after it: one file at a time."""
