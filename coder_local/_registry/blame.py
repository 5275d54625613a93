"""Whose code it was: from a stack to the plugin that the innermost frame of any plugin belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import FrameType

from . import modules
from .plugins import Plugin


def by_error(plugins: Iterable[Plugin], error: BaseException) -> Plugin | None:
    """Return the plugin in whose code an exception was raised; None if no plugin's code was on the way."""
    frames: list[FrameType] = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return _owner(plugins, reversed(frames))


def by_stack(plugins: Iterable[Plugin], frame: FrameType | None) -> Plugin | None:
    """Return the plugin that a thread is in; None if it is in nobody's code."""
    return _owner(plugins, _outwards(frame))


def by_name(plugins: Iterable[Plugin], name: str) -> Plugin | None:
    """Return the plugin that an operation or a listener is declared by."""
    word = name.partition(".")[0]
    return next((each for each in plugins if each.domain is not None and each.domain.name == word), None)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _owner(plugins: Iterable[Plugin], frames: Iterable[FrameType]) -> Plugin | None:
    roots = {each.root: each for each in plugins}
    for frame in frames:
        module = str(frame.f_globals.get("__name__", ""))
        for root, plugin in roots.items():
            if modules.below(module, root):
                return plugin
    return None
