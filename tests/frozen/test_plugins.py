"""Plugins of others in the build: from the data directory's folder, with the whole standard library."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.faults.conftest import enable, put_notes
from tests.faults.process import Process

from .conftest import Run

pytestmark = pytest.mark.alone

STRANGER = '''
import colorsys, csv, statistics, wave, xml.dom.minidom  # which nothing of coder-local imports
import cryptography.hazmat.primitives.ciphers.aead
from coder_local.api import Context, Domain, Safety, Snapshot

domain = Domain("stranger")

@domain.query("stranger.median")
def median(read: Snapshot, *, of: list[float]) -> float:
    """Return the median."""
    return statistics.median(of)

@domain.action("stranger.lengths", safety=Safety.READ)
async def lengths(ctx: Context, *, of: list[str], method: str) -> list[int]:
    """Return lengths, reckoned by processes."""
    import asyncio, multiprocessing
    def work() -> list[int]:
        with multiprocessing.get_context(method).Pool(1) as pool:
            return pool.map(len, of)
    return await asyncio.to_thread(work)
'''


def write(data_dir: Path, name: str, body: str) -> None:
    folder = data_dir / "plugins" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(body)


def test_a_plugin_with_records_and_migrations_works(daemon: Process, run: Run) -> None:
    put_notes(daemon.data_dir)
    daemon.start()
    enable(daemon, "notes")
    assert daemon.call("notes.create", workspace="w", title="kept")["rev"] == 1
    daemon.terminate()
    daemon.start()
    assert [each["title"] for each in daemon.call("notes.list", workspace="w")["items"]] == ["kept"]


def test_a_plugin_has_the_whole_standard_library_and_processes(daemon: Process) -> None:
    write(daemon.data_dir, "stranger", STRANGER)
    write(daemon.data_dir, "needy", "import no_such_package\n")
    daemon.start()
    enable(daemon, "stranger")
    assert daemon.call("stranger.median", of=[3, 1, 2]) == 2
    for method in ("spawn", "forkserver"):
        assert daemon.call("stranger.lengths", of=["a", "bcd"], method=method) == [1, 3]
    enable(daemon, "needy")
    needy = next(each for each in daemon.call("plugins.list")["items"] if each["name"] == "needy")
    assert needy["status"] == "stopped_by_import_error"
    assert "put other packages into the plugin's folder" in needy["reason"]


def test_a_plugin_is_written_and_checked(run: Run, tmp_path: Path) -> None:
    assert run("plugins", "new", "recipes").returncode == 0
    checked = run("plugins", "check", "recipes", "--json")
    assert json.loads(checked.stdout) == {"ok": True, "faults": []}
    records = tmp_path / "recipes" / "recipes" / "records.py"
    records.write_text(records.read_text().replace("\nfrom coder_local", "\nimport sqlite_utils\nfrom coder_local", 1))
    shutil.rmtree(records.parent / "__pycache__", ignore_errors=True)
    faults = json.loads(run("plugins", "check", "recipes", "--json").stdout)["faults"]
    assert any("imports sqlite_utils" in fault for fault in faults), faults
