"""Choice: what can be done now, what to do first, and what waits for what."""
