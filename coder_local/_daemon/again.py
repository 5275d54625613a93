"""How a daemon is started again as it was: what a handover gives to the next one, and to the old one if that fails."""

from __future__ import annotations

import os

from .main import ServeOptions

_LAST_CLIENT = 60.0
"""Seconds that a daemon without the parent that it had stays after its last client."""


def options_of(options: ServeOptions) -> list[str]:
    """Return the options of `serve` that ask for the same, the data directory left out.

    Standard input cannot be handed on. Whoever watches through it is our parent, so the next daemon watches that one.
    """
    words: list[str] = []
    if options.socket is not None:
        words += ["--socket", options.socket]
    if options.http_port is None:
        words += ["--no-http"]
    elif options.http_port:
        words += ["--http-port", str(options.http_port)]
    parent, linger = options.parent_pid, options.linger
    if parent is None and options.watch_stdin:
        parent = os.getppid()
        if parent <= 1:  # it has ended, and the system took us in: we are here for clients that are attached
            parent, linger = None, _LAST_CLIENT if linger is None else linger
    if parent is not None:
        words += ["--parent-pid", str(parent)]
    if linger is not None:
        words += ["--linger", f"{linger:g}"]
    if options.allow_network:
        words += ["--allow-network-directory"]
    if options.safe:
        words += ["--safe"]
    if options.log_level != "INFO":
        words += ["--log-level", options.log_level.lower()]
    return words
