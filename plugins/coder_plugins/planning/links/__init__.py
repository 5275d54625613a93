"""Links: what blocks, holds, repeats or causes what, between any two records."""
