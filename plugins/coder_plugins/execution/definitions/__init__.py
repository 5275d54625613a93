"""Definitions: what a run is made of, as it is written, and whether it can run at all."""
