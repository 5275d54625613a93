"""Impact: what a change would move, before it is made."""
