"""What may be asked of time."""
