"""Where every process of the one-folder build begins: the command, or one of the small programs inside the build.

From source these programs are run by Python; in the build there is no Python but the program itself. They are chosen
before anything else is imported, because a command of a run waits for them.
"""

from __future__ import annotations

import importlib
import os
import sys

from coder_ipc import program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PLUGINS = "coder_plugins"
_FILES = str(getattr(sys, "_MEIPASS", ""))
_MULTIPROCESSING = (
    "from multiprocessing.resource_tracker import main",
    "from multiprocessing.forkserver import main",
    "import sys; from multiprocessing.forkserver import main",
)
"""How what the helpers of multiprocessing hand to `python -c` begins; nothing else is run that way."""


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


def _inner() -> None:
    """Call `main` of a module by its place among the plugins' files: by its name, all of its plugin would be imported.

    Raises `SystemExit` for a module that is not there.
    """
    place, module = [*sys.argv[1:3], "", ""][:2]
    del sys.argv[1:3]
    place = os.path.normpath(place)
    folder = os.path.join(_FILES, place)  # noqa: PTH118 - pathlib is slow to import, and a command waits
    file = os.path.join(folder, *module.split("."))  # noqa: PTH118 - see above
    if place.partition(os.sep)[0] != _PLUGINS or not os.path.isfile(f"{file}.py"):  # noqa: PTH113 - see above
        sys.exit(f"error: there is no {module} in {place} of this build")
    sys.path.insert(0, folder)
    importlib.import_module(module).main()


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
            exec(source, {"__name__": "__main__"})  # noqa: S102 - see above
            sys.exit()
    multiprocessing.spawn.freeze_support()


_PROGRAMS: dict[str, Callable[[], None]] = {program.INNER: _inner, "_lightness": _lightness, "selfcheck": _selfcheck}
