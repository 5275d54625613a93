"""Where every process of the one-folder build begins: the command, or one of the small programs inside the build.

From source these programs are run by Python; in the build there is no Python but the program itself. They are chosen
before anything else is imported, because a command of a run waits for them.
"""

from __future__ import annotations

import os
import sys

from coder_ipc import program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MULTIPROCESSING = (
    "from multiprocessing.resource_tracker import main",
    "from multiprocessing.forkserver import main",
    "import sys; from multiprocessing.forkserver import main",
)
"""What the helpers of multiprocessing hand to `python -c`, and nothing else is run that way."""


def main() -> int:
    """Run what the arguments ask for, and return its exit code."""
    own = program.clean_environment(os.environ)
    for name in set(os.environ) - set(own):
        del os.environ[name]
    os.environ.update(own)  # not by `clear`: another thread's getenv must find a variable throughout
    if (inner := _PROGRAMS.get(sys.argv[1] if len(sys.argv) > 1 else "")) is not None:
        del sys.argv[1]
        inner()
        return 0
    if "--multiprocessing-fork" in sys.argv[1:2] or "-c" in sys.argv:
        _help_multiprocessing()
    from coder_local import cli  # noqa: PLC0415 - the small programs need none of it

    return cli.main()


def _shim() -> None:
    """Run the shim of execution from its own folder: by its name, all of the plugin would be imported."""
    processes = os.path.join(program.folder() or "", "coder_plugins", "execution", "processes")  # noqa: PTH118 - slow
    sys.path.insert(0, processes)
    import importlib  # noqa: PLC0415 - the command need not wait for it

    importlib.import_module("shim.windows" if sys.platform == "win32" else "shim.forkserver").main()


def _lightness() -> None:
    """Tell what importing a plugin imports."""
    from coder_local.testing import lightness  # noqa: PLC0415 - its own need only

    lightness.main()


def _selfcheck() -> None:
    """Look whether the build has all that it should have; exit with 1 if not."""
    from . import selfcheck  # noqa: PLC0415 - its own need only

    sys.exit(selfcheck.main())


def _help_multiprocessing() -> None:
    """Be a worker or a helper of a plugin's multiprocessing, if the arguments say so; then it does not return."""
    import multiprocessing.spawn  # noqa: PLC0415 - nobody else needs it

    if "-c" in sys.argv:
        source = "".join(sys.argv[sys.argv.index("-c") + 1 :][:1])
        if source.startswith(_MULTIPROCESSING):
            exec(source, {"__name__": "__main__"})  # noqa: S102 - one of the three above
            sys.exit()
    multiprocessing.spawn.freeze_support()


_PROGRAMS: dict[str, Callable[[], None]] = {"shim": _shim, "lightness": _lightness, "selfcheck": _selfcheck}
