"""A daemon that nobody is attached to stays until its runs have come to their ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_ipc.errors import RemoteError
from tests.doors.serve import Serve

pytestmark = pytest.mark.alone


def test_a_run_keeps_the_daemon_from_stopping_for_want_of_clients(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    steps = [
        {"key": "first", "kind": "command", "input": {"shell": "sleep 2; echo a >> lines"}},
        {"key": "second", "kind": "command", "input": {"shell": "echo b >> lines"}, "needs": ["first"]},
    ]
    with Serve(tmp_path, "--linger", "0.2") as serve:
        serve.ready()
        with serve.client() as client:
            with pytest.raises(RemoteError) as asked:
                client.call("execution.start", {"steps": steps, "folder": str(work)})
            assert asked.value.data is not None
            confirm = asked.value.data["confirm"]
            client.call("execution.start", {"steps": steps, "folder": str(work), "confirm": confirm})
        assert serve.end() == 0
        assert (work / "lines").read_text() == "a\nb\n"


def test_a_run_that_waits_for_a_person_does_not(tmp_path: Path) -> None:
    steps = [{"key": "ask", "kind": "approval", "input": {"prompt": "Go on?"}}]
    with Serve(tmp_path, "--linger", "0.2") as serve:
        serve.ready()
        with serve.client() as client:
            with pytest.raises(RemoteError) as asked:
                client.call("execution.start", {"steps": steps})
            assert asked.value.data is not None
            client.call("execution.start", {"steps": steps, "confirm": asked.value.data["confirm"]})
        assert serve.end() == 0
