"""Notes: short texts kept beside a workspace.

A note is never erased by `delete`: it is marked, so that other devices learn of it and `undo` can bring it back.
"""

from . import operations as operations  # the import declares them
from .records import domain as domain
