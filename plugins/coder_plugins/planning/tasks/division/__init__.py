"""Division: one task into parts, and several into one."""
