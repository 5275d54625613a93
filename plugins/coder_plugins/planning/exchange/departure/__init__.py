"""Departure: taking tasks out of the database in the words of another tool."""
