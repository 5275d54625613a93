import json

import pytest

from coder_local.testing.daemon import environment, running
from tests.cli.conftest import command

__all__ = ["command"]


@pytest.fixture(scope="session")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("d")) as found:
        yield found


@pytest.fixture
def run(command, daemon, monkeypatch, tmp_path):
    """Run the command in this process, as in a pipe, against the daemon, in a folder of its own."""
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **options: command(*arguments, data_dir=daemon.data_dir, **options)


@pytest.fixture
def plan(tmp_path):
    """Write a plan file and return its path."""

    def write(text, name="plan.yaml"):
        path = tmp_path / name
        path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
        return str(path)

    return write
