"""A domain for measuring: one record of 20 columns, loaded by `launch.py` as a bundled plugin would be."""

from .records import domain as domain
