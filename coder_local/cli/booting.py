"""`doctor --boot`: the last starts of the daemon, from the trace on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .tables import clean

if TYPE_CHECKING:
    from coder_local._daemon.boot import Boot

    from .session import Session

_ENDS = {
    0: "stopped",
    8: "another process held the directory",
    65: "the data could not be used",
    70: "it broke; the log tells how",
    73: "the directory or the socket could not be used",
}


def show(session: Session) -> int:
    """Print the starts, the newest last."""
    from coder_local._daemon import boot  # noqa: PLC0415 - for this option only

    found = boot.read(session.settings.data_dir)
    if session.output.as_json:
        session.output.json({"items": [told(each) for each in found]})
    else:
        session.output.text(
            "\n".join(clean(line) for each in found for line in _lines(each)) or "no start is on record"
        )
    return 0


def told(found: Boot) -> dict[str, Any]:
    """Return a start as one object."""
    return {**found.about, "stages": found.stages, "code": found.code, "end": _end(found), "last": found.last}


def _end(found: Boot) -> str:
    if found.code is not None:
        return _ENDS.get(found.code, f"exit code {found.code}")
    return "running" if found.alive else f"killed, or the machine stopped; it had come to: {found.last}"


def _lines(found: Boot) -> list[str]:
    lines = [f"{found.about.get('begin')}  version {found.about.get('version')}, pid {found.about.get('pid')}"]
    before = 0.0
    for stage in found.stages:
        ms = float(stage.get("ms", 0.0))
        lines.append(f"  {ms:>9.1f} ms  +{ms - before:<8.1f} {stage['stage']} {stage.get('plugin', '')}".rstrip())
        before = ms
    return [*lines, f"  {_end(found)}"]
