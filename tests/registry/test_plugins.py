"""Plugins of other distributions, announced by entry points: a real daemon finds and imports them one by one."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coder_ipc import RemoteError
from coder_local._daemon.core.grants import Grant, may_load
from coder_local._registry import plugins
from tests.faults.process import Process

pytestmark = pytest.mark.alone

GOOD = '''
from pathlib import Path
from coder_local.api import Domain, Snapshot
Path({trace!r}).write_text("ran")
domain = Domain("{domain}", version="3.2.1")

@domain.query("{domain}.word")
def word(read: Snapshot) -> str:
    """Say a word."""
    return "{word}"
'''


class Site:
    """A folder on the path with installed distributions in it, as `pip install --target` leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trace = folder.parent / "trace"
        folder.mkdir()

    def install(self, distribution: str, entry: str, files: dict[str, str]) -> None:
        info = self.folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[coder_local.plugins]\n{entry}\n")
        (info / "RECORD").write_text("")
        for name, body in files.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(textwrap.dedent(body))

    def good(self, domain: str = "good", word: str = "hello") -> str:
        return GOOD.format(trace=str(self.trace), domain=domain, word=word)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "site")
    made.install("good-plugin", "good = good_plugin.records:domain", {
        "good_plugin/__init__.py": "from .records import domain as domain\n", "good_plugin/records.py": made.good(),
    })  # fmt: skip
    made.install("raising-plugin", "raising = raising_plugin", {"raising_plugin.py": "raise RuntimeError('at import')"})
    made.install("exiting-plugin", "exiting = exiting_plugin", {"exiting_plugin.py": "import sys; sys.exit(3)"})
    made.install("clashing-plugin", "clashing = clashing_plugin", {"clashing_plugin.py": made.good("planning")})
    made.install("gone-plugin", "gone = gone_plugin:domain", {})
    made.install("garbled-plugin", "garbled = ! no module [", {})
    made.install("empty-plugin", "empty =", {})
    return made


@pytest.fixture
def daemon(tmp_path: Path, site: Site) -> Iterator[Process]:
    process = Process(tmp_path / "data")
    start(process, site)
    yield process
    process.kill()


def start(process: Process, site: Site) -> None:
    paths = [str(site.folder), *(path for path in sys.path if path)]
    process.start(PYTHONPATH=os.pathsep.join(paths), PYTHONDONTWRITEBYTECODE="1")


def listed(process: Process) -> dict[str, dict[str, Any]]:
    process.call("operations.list", prefix="operations.")  # waits for the plugins, which `plugins.list` does not
    return {each["name"]: each for each in process.call("plugins.list")["items"]}


NAMES = ("good", "raising", "exiting", "clashing", "gone", "garbled", "empty")


def test_every_installed_plugin_is_listed_and_none_has_run(daemon: Process, site: Site) -> None:
    found = listed(daemon)
    for name in NAMES:
        assert (found[name]["status"], found[name]["source"]) == ("needs_enabling", "entry_point"), name
    assert len(found["good"]["content_hash"]) == 64
    assert [name for name in NAMES if found[name]["content_hash"] is None] == ["gone", "garbled", "empty"]
    assert not site.trace.exists()
    with pytest.raises(RemoteError) as caught:
        daemon.call("good.word")
    assert caught.value.kind in {"not_found", "unsupported"}


def test_a_good_one_runs_once_its_content_was_enabled_whatever_the_others_do(daemon: Process, site: Site) -> None:
    with pytest.raises(RemoteError) as caught:
        daemon.confirmed("plugins.enable", name="good", content_hash="0" * 64)
    assert caught.value.kind == "conflict"
    assert not site.trace.exists()
    expected = {
        "good": ("loaded", ""),
        "raising": ("stopped_by_import_error", "RuntimeError: at import"),
        "exiting": ("stopped_by_import_error", "SystemExit: 3"),
        "clashing": ("stopped_by_declaration", "the domain name planning is taken by plugin planning"),
    }
    content = listed(daemon)["good"]["content_hash"]
    for name in ("raising", "exiting", "clashing"):
        daemon.confirmed("plugins.enable", name=name)
    assert daemon.confirmed("plugins.enable", name="good", content_hash=content)["version"] == "3.2.1"
    for name in ("gone", "garbled", "empty"):
        with pytest.raises(RemoteError) as caught:
            daemon.confirmed("plugins.enable", name=name)
        assert caught.value.kind == "conflict"
    for _ in range(2):  # at once, and again after a new start
        found = listed(daemon)
        for name, (status, reason) in expected.items():
            assert found[name]["status"] == status
            assert found[name]["reason"].startswith(reason)
        assert found["good"]["reason"] == ""
        assert daemon.call("good.word") == "hello"
        assert daemon.call("planning.tasks.create", title="works on")["rev"] == 1
        assert daemon.terminate() == 0
        start(daemon, site)


def test_another_content_needs_enabling_again_and_does_not_run_before(daemon: Process, site: Site) -> None:
    daemon.confirmed("plugins.enable", name="good")
    assert daemon.call("good.word") == "hello"
    daemon.terminate()
    (site.folder / "good_plugin" / "records.py").write_text(site.good(word="changed"))
    site.trace.unlink()
    start(daemon, site)
    found = listed(daemon)["good"]
    assert found["status"] == "needs_enabling"
    assert "content changed" in found["reason"]
    assert not site.trace.exists()
    with pytest.raises(RemoteError) as caught:
        daemon.call("good.word")
    assert caught.value.kind == "unsupported"
    daemon.confirmed("plugins.enable", name="good", content_hash=found["content_hash"])
    assert daemon.call("good.word") == "changed"


def test_one_that_was_uninstalled_is_named_with_what_is_missing(daemon: Process, site: Site) -> None:
    daemon.confirmed("plugins.enable", name="good")
    daemon.terminate()
    for path in (site.folder / "good_plugin").iterdir():
        path.unlink()
    (site.folder / "good_plugin").rmdir()
    start(daemon, site)
    found = listed(daemon)["good"]
    assert found["status"] == "needs_enabling"
    assert "good_plugin.records cannot be found; is it installed?" in found["reason"]


def test_a_build_refuses_an_installed_plugin_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner enabled it when the daemon ran from an installation; the build finds the decision, and no packages."""
    plugin = plugins.Plugin("good", plugins.Source.ENTRY_POINT, "good_plugin")
    grant = Grant("good", "entry_point", "good_plugin", "0" * 64, enabled=True)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not may_load(plugin, grant)
    assert plugin.status is plugins.Status.NEEDS_ENABLING
    assert "put the plugin's own folder into `plugins` of the data directory" in plugin.reason
