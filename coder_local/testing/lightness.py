"""What importing a plugin imports, seen by a process that has imported nothing else.

Its arguments are the name of the plugin's module, and its folder, or "" if it is imported by its name.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys

from coder_ipc import program


def command() -> list[str]:
    """Return the words that run this file by itself: as a module, it would bring its packages along."""
    return program.command("_lightness") if program.is_frozen() else [sys.executable, "-P", __file__]


def main() -> None:
    """Print the names of the modules that a plugin imports beyond `coder_local.api`, as a JSON array."""
    importlib.import_module("coder_local.api")
    known = set(sys.modules)
    name, folder = sys.argv[1:]
    if folder:
        spec = importlib.util.spec_from_file_location(
            name, f"{folder}/__init__.py", submodule_search_locations=[folder]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"{folder} has no __init__.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        importlib.import_module(name)
    print(json.dumps(sorted(set(sys.modules) - known)))  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
