"""Approving: checking a plan, and binding a person to exactly what it will do."""
