"""Running: handing an approved plan to execution, and following its run."""
