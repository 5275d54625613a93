"""Refining: a new version after feedback or a failed run, and how two versions differ, step by step."""
