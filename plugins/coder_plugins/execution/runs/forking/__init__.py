"""Runs from runs: retry and rewind; the old run is untouched."""
