"""Arrival: bringing records of another tool into the database."""
