"""The files of output: where they are, writing and reading them, and following a run as they grow."""
