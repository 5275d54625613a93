"""A shelf of books: what one wants to read, reads, and has read.

Its code is the same whether `plugin.toml` has it run in the daemon or in a process of its own.
"""

from . import operations as operations  # the import declares them
from .records import domain as domain
