"""Write the contracts and the TypeScript client from what the bundled plugins declare, or check those that stand.

`--check` writes nothing. It fails when a file is not what would be written, and when the contracts break a client of
the last release (or of `--base REV`) without a line in CHANGELOG.md: under Unreleased, `### Breaking`, naming the
operation, event, plugin or table.
"""

from __future__ import annotations

import argparse
import difflib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
SOURCE_ROOTS = (ROOT, ROOT / "plugins", ROOT / "ipc")
SHOWN_LINES = 12

if TYPE_CHECKING:
    from coder_local._registry.registry import Registry


def in_environment() -> bool:
    """Tell whether this Python has what the daemon needs."""
    import importlib.util  # noqa: PLC0415 - only here

    return importlib.util.find_spec("msgspec") is not None


def start_in_environment() -> int:
    """Run this script again with the checkout's own Python, set up first where it must be."""
    from _running import SetupError, say  # noqa: PLC0415 - beside this file, and only then
    from _setup import ensure_python  # noqa: PLC0415

    try:
        python = ensure_python(ROOT)
    except SetupError as error:
        say(str(error))
        return 1
    if Path(sys.executable).resolve() == python.resolve() and Path(sys.prefix) == python.parent.parent:
        say(f"{python} lacks msgspec: delete .venv and run this again")
        return 1
    return subprocess.run([str(python), *sys.argv], check=False).returncode


def load_registry() -> Registry:
    """Return the registry of the core's own domains and all bundled plugins. Raises SystemExit for one that fails."""
    from coder_local._registry import plugins  # noqa: PLC0415 - there is no msgspec before start_in_environment
    from coder_local._registry.kernel import Kernel  # noqa: PLC0415

    kernel = Kernel()
    for domain in core_domains(kernel):
        kernel.take(domain)
    kernel.load(plugins.bundled())
    failed = [f"{plugin.name}: {plugin.reason}" for plugin in kernel.registry.plugins.values() if not plugin.loaded]
    if failed:
        raise SystemExit("these plugins cannot be loaded:\n  " + "\n  ".join(failed))
    return kernel.registry


def core_domains(kernel: object) -> list[object]:
    """Return the domains that belong to the daemon itself."""
    from coder_local._daemon.core import core_domains as domains  # noqa: PLC0415 - see load_registry

    return list(domains(kernel))


def write(texts: Mapping[str, str]) -> None:
    """Write the files that differ."""
    for name, text in texts.items():
        path = ROOT / name
        if committed(path) == text:
            print(f"same     {name}")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", newline="\n")
        print(f"written  {name}")


def committed(path: Path) -> str | None:
    """Return the text of a file as it stands, None if there is none."""
    try:
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except OSError:
        return None


def stale(texts: Mapping[str, str]) -> list[str]:
    """Return the files that are not what would be written, each with where it first differs."""
    found: list[str] = []
    for name, text in texts.items():
        there = committed(ROOT / name)
        if there != text:
            lines = list(difflib.unified_diff((there or "").splitlines(), text.splitlines(), lineterm="", n=1))[2:]
            shown = "".join(f"\n    {line}" for line in lines[:SHOWN_LINES])
            more = f"\n    ... {len(lines) - SHOWN_LINES} more lines" if len(lines) > SHOWN_LINES else ""
            found.append(f"{name} {'is missing' if there is None else 'is not current:' + shown + more}")
    return found


def git(*arguments: str) -> str | None:
    """Return what git answers, None when it fails or is not there."""
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, encoding="utf-8"
        )
    except OSError:
        return None
    return answer.stdout if answer.returncode == 0 else None


def base_revision() -> str | None:
    """Return the revision that clients were last promised: the newest release, else this branch's base, else HEAD."""
    if release := git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*"):
        return release.strip()
    head = (git("rev-parse", "--verify", "HEAD") or "").strip()
    for upstream in ("origin/HEAD", "origin/main", "main"):
        base = (git("merge-base", "HEAD", upstream) or "").strip()
        if base and base != head:
            return base
    return head or None


def contracts_at(revision: str, names: Sequence[str]) -> dict[str, str]:
    """Return the contracts of a revision; those that it did not have are left out."""
    found = {name: git("show", f"{revision}:{name}") for name in names}
    return {name: text for name, text in found.items() if text is not None}


def unannounced(texts: Mapping[str, str], base: str | None) -> list[str]:
    """Return the breaking changes since a base that the changelog does not name. Says what it compares with."""
    from coder_local._contracts import changes  # noqa: PLC0415 - see load_registry

    if base is not None and git("rev-parse", "--verify", f"{base}^{{commit}}") is None:
        raise SystemExit(f"git knows no revision {base!r}")
    revision = base or base_revision()
    if revision is None:
        print("breaking changes are not looked for: this is no git checkout, or one without a commit")
        return []
    old = contracts_at(revision, changes.COMPARED)
    if not old:
        print(f"breaking changes are not looked for: {revision} has no contracts yet")
        return []
    found = changes.breaking(old, texts)
    print(f"{len(found)} breaking changes since {revision}")
    changelog = committed(ROOT / "CHANGELOG.md") or ""
    return [f"{change.subject}: {change.what}" for change in changes.unnamed(found, changelog)]


def check(texts: Mapping[str, str], base: str | None) -> int:
    """Print what is wrong with the files that stand and return the exit code."""
    old_files = stale(texts)
    for fault in old_files:
        print(fault)
    if old_files:
        print("run `python3 scripts/generate.py` and commit what it writes")
    broken = unannounced(texts, base)
    for fault in broken:
        print(f"  {fault}")
    if broken:
        print("each breaks a client: take it back, or name it in CHANGELOG.md under Unreleased, `### Breaking`")
    if not old_files and not broken:
        print(f"{len(texts)} contracts are current")
    return 1 if old_files or broken else 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Write the contracts and the TypeScript client, or check them.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale or breaking unannounced")
    parser.add_argument("--base", metavar="REV", help="with --check: compare with this revision's contracts")
    options = parser.parse_args()
    if options.base and not options.check:
        parser.error("--base goes with --check")
    return options


def main() -> int:
    """Write or check."""
    options = parse_arguments()
    if not in_environment():
        return start_in_environment()
    # By hand, so that it also works in a checkout that is not installed.
    sys.path[:0] = [str(folder) for folder in SOURCE_ROOTS if str(folder) not in sys.path]
    from coder_local._contracts import files  # noqa: PLC0415 - see load_registry

    texts = files.render(load_registry())
    if options.check:
        return check(texts, options.base)
    write(texts)
    return 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
