"""The one form in which a wrong name is answered: the nearest right one, or else what there is."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, names: Iterable[str], otherwise: str) -> str:
    """Return a hint that names the nearest name, or `otherwise` when none is near."""
    import difflib  # noqa: PLC0415 - only a wrong name needs it

    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean {close[0]}?" if close else otherwise
