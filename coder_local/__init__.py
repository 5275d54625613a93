"""coder-local: the local backend of an IDE."""

__version__ = "0.1.0"
