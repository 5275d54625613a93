import io
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from coder_ipc.client import Client
from coder_local.cli import main
from coder_local.testing.daemon import environment, running

HERE = Path(__file__).parent


def copy_plugins(data_dir: Path) -> None:
    for source in (HERE / "probe", HERE.parent / "support" / "notes"):
        shutil.copytree(source, data_dir / "plugins" / source.name, ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture(scope="session")
def daemon(tmp_path_factory):
    """A real daemon with the plugins `probe` and `notes`, enabled by the command itself."""
    folder = tmp_path_factory.mktemp("d")
    with running(folder, prepare=[copy_plugins]) as found:
        for name in ("probe", "notes"):
            assert main(["--data-dir", str(folder), "--yes", "plugins", "enable", name]) == 0
        yield found


@pytest.fixture
def command(capsys, monkeypatch):
    """Run the command in this process, as in a pipe."""

    def run(*arguments: str, stdin: bytes = b"", data_dir: Path | None = None):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        before = () if data_dir is None else ("--data-dir", str(data_dir))
        code = main([*before, *arguments])
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return run


@pytest.fixture
def run(command, daemon):
    """Run the command in this process, as in a pipe, against the daemon."""
    return lambda *arguments, **options: command(*arguments, data_dir=daemon.data_dir, **options)


@pytest.fixture
def client(daemon):
    with Client.connect(daemon.data_dir) as connected:
        yield connected


@pytest.fixture
def own(command, tmp_path, monkeypatch):
    """The command on a data directory of its own; what daemon it leaves is stopped."""
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    folder = tmp_path / "d"
    yield lambda *arguments, **options: command(*arguments, data_dir=folder, **options)
    done = command("stop", data_dir=folder)
    assert done.code == 0, done.err


@pytest.fixture
def folder(own, tmp_path):
    return tmp_path / "d"
