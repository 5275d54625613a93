"""What plugin authors test with: plugins in memory, a fake clock, a real daemon, and checks that any plugin must pass.

Promises, each kept by a test:

- `sandbox` runs the plugin in the real store and dispatcher, in memory: what passes there passes in the daemon.
- A test sees the errors that a caller sees, by the same classes.
- Time stands still until the test moves it.
- Importing this package, or having its pytest plugin installed, costs nothing until a name is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coder_local._store.clock import FakeClock

    from .memory import Said, Sandbox, sandbox

__all__ = ["FakeClock", "Said", "Sandbox", "sandbox"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: pytest imports this package in every run."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import memory  # noqa: PLC0415 - see above

    return getattr(memory, name)
