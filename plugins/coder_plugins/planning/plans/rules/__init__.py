"""What holds for the steps of plans: pure functions over plain values, as in planning's own `rules`."""
