"""Execution: runs lists of steps so that a crash loses nothing and repeats nothing harmful."""
