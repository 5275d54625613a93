"""Runs: what is kept of each run, its steps, attempts, waits and signals, and what may be asked of them."""
