"""Artifacts: what steps leave behind, kept once for each content."""
