"""`scripts/generate.py`: what it writes, what it finds stale, and what it refuses."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from coder_local._contracts import files
from tests.contracts import rivals, runs

ROOT = Path(__file__).resolve().parents[2]
TEXTS = files.render(runs.kernel_of(runs.domain, rivals.domain).registry)
LESS = files.render(runs.kernel_of(runs.domain).registry)


def git(folder: Path, *arguments: str) -> None:
    names = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.org",
        "-c",
        "init.defaultBranch=main",
        "-c",
        "commit.gpgsign=false",
    ]
    subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-m", message)


@pytest.fixture
def generate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, at work on an empty folder."""
    spec = importlib.util.spec_from_file_location("generate_under_test", ROOT / "scripts" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    # A folder under a checkout must not be taken for a part of it.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return module


def test_what_it_wrote_is_current(generate: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(generate.stale(TEXTS)) == len(TEXTS)
    generate.write(TEXTS)
    assert generate.stale(TEXTS) == []
    assert capsys.readouterr().out.count("written") == len(TEXTS)
    generate.write(TEXTS)
    assert capsys.readouterr().out.count("same") == len(TEXTS)
    assert b"\r" not in (tmp_path / files.OPENAPI).read_bytes()


def test_a_stale_file_is_shown_with_its_difference(generate: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    generate.write(LESS)
    capsys.readouterr()
    assert generate.check(TEXTS, None) == 1
    out = capsys.readouterr().out
    assert f"{files.EVENTS} is not current" in out
    assert '+    "rivals.client.created": {' in out
    assert "run `python3 scripts/generate.py`" in out


def test_without_history_only_freshness_is_checked(generate: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    generate.write(TEXTS)
    assert generate.check(TEXTS, None) == 0
    assert "this is no git checkout" in capsys.readouterr().out


def test_a_base_without_contracts_breaks_nothing(
    generate: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(tmp_path, "init")
    (tmp_path / "README.md").write_text("x", "utf-8")
    commit(tmp_path, "first")
    generate.write(LESS)
    assert generate.check(LESS, None) == 0
    assert "has no contracts yet" in capsys.readouterr().out


def test_a_breaking_change_needs_its_line(
    generate: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(tmp_path, "init")
    generate.write(TEXTS)
    commit(tmp_path, "first")
    generate.write(LESS)
    assert generate.check(LESS, None) == 1
    out = capsys.readouterr().out
    assert "rivals.clients.list: the operation is gone" in out
    assert "rivals_clients: the table is gone" in out
    subjects = {line.split(":")[0].strip() for line in out.splitlines() if line.startswith("  ")}
    lines = "".join(f"- `{subject}` is gone\n" for subject in sorted(subjects))
    (tmp_path / "CHANGELOG.md").write_text(f"## Unreleased\n\n### Breaking\n{lines}", "utf-8")
    assert generate.check(LESS, None) == 0


def test_the_last_release_is_the_base(generate: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(tmp_path, "init")
    generate.write(TEXTS)
    commit(tmp_path, "first")
    git(tmp_path, "tag", "v0.1.0")
    generate.write(LESS)
    commit(tmp_path, "less")
    assert generate.check(LESS, None) == 1
    assert "since v0.1.0" in capsys.readouterr().out
    assert generate.check(LESS, "HEAD") == 0
    with pytest.raises(SystemExit, match="no revision"):
        generate.check(LESS, "nowhere")


def test_a_branch_is_held_against_where_it_left(generate: ModuleType, tmp_path: Path) -> None:
    git(tmp_path, "init")
    generate.write(TEXTS)
    commit(tmp_path, "first")
    git(tmp_path, "checkout", "-b", "topic")
    generate.write(LESS)
    commit(tmp_path, "less")
    assert generate.check(LESS, None) == 1


def test_the_core_and_every_bundled_plugin_are_in_it(generate: ModuleType) -> None:
    registry = generate.load_registry()
    texts = files.render(registry)
    assert all(plugin.loaded for plugin in registry.plugins.values())
    for name in registry.names():
        assert f'"operationId": "{name}"' in texts[files.OPENAPI]
        assert f'"{name}"' in texts[files.OPENRPC]
        assert f'"operation": "{name}"' in texts[files.MCP]
        assert f'  "{name}": {{ kind:' in texts[files.TYPESCRIPT]
    for name in registry.events():
        assert f'    "{name}": {{' in texts[files.EVENTS]
        assert f'  "{name}":' in texts[files.TYPESCRIPT]


@pytest.mark.alone
def test_the_script_checks_the_checkout() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "generate.py"), "--check", "--base", "HEAD"]
    answer = subprocess.run(command, capture_output=True, check=False, text=True, cwd=ROOT.parent)
    assert "breaking changes" in answer.stdout, answer.stderr
    assert "Traceback" not in answer.stderr
