"""`run` and `runs` in a pipe, against a real daemon."""

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from coder_ipc import runtime, spawn
from coder_local.testing.daemon import environment
from coder_plugins.execution.cli import codes

pytestmark = pytest.mark.alone

GOOD = """\
name: greet
inputs: {who: world, often: 2}
steps:
  - key: hello
    kind: command
    input: {run: [echo, "hello ${{ inputs.who }} ${{ inputs.often }}"]}
  - key: each
    kind: command
    foreach: [a, b]
    needs: [hello]
    input: {run: [echo, "item ${{ item }}"]}
"""
BAD = """\
steps:
  - key: first
    kind: comand
    input: {}
  - key: second
    kind: command
    needs: [firs]
    input:
      rn: [echo]
"""
FAILING = [
    {"key": "good", "kind": "command", "input": {"run": ["echo", "fine"]}},
    {"key": "bad", "kind": "command", "needs": ["good"], "input": {"shell": "echo sorry; exit ${FAIL:-3}"}},
]
HANGING = [{"key": "hang", "kind": "command", "input": {"shell": "echo begun; sleep 600"}}]


def objects(done):
    return [json.loads(line) for line in done.out.splitlines()]


def test_a_plan_runs_and_each_thing_that_happens_is_a_line(run, plan):
    done = run("run", plan(GOOD), "--yes", "--input", "who=me", "--input", "often=3")
    assert done.code == 0, done.err
    lines = [line[10:] for line in done.out.splitlines()]
    assert lines[0].startswith("run ")
    assert {"hello | hello me 3", "each[a] | item a", "each[b] | item b", "each succeeded"} <= set(lines)
    assert lines.index("hello succeeded") < lines.index("each succeeded")
    assert " succeeded after " in done.out.splitlines()[-1]


def test_with_json_each_thing_is_an_object(run, plan):
    done = run("run", plan(GOOD), "--yes", "--json")
    said = objects(done)
    assert (said[0]["type"], said[0]["run"]["name"]) == ("started", "greet")
    assert (said[-1]["type"], said[-1]["run"]["status"]) == ("ended", "succeeded")
    texts = [each["text"] for each in said if each["type"] == "output" and each["step"] == "hello"]
    assert "".join(texts) == "hello world 2\n"
    assert all("cursor" in each for each in said[1:-1])


def test_everything_wrong_is_told_with_its_line_and_nothing_runs(run, plan):
    before = objects(run("runs", "list"))[0]["items"]
    done = run("run", plan(BAD), "--yes")
    assert (done.code, done.out) == (2, "")
    assert "plan.yaml:3: error: there is no kind of step 'comand' (did you mean command?)" in done.err
    assert "plan.yaml:7: error: second needs firs, which is no step (did you mean first?)" in done.err
    assert "plan.yaml:9: error: there is no field 'rn' (did you mean run?)" in done.err
    assert "3 things are wrong with plan.yaml; nothing was run" in done.err
    unknown = run("run", plan("steps:\n  - key: a\n    kind: timer\n    timeot: PT1S\n    input: {duration: PT1S}\n"))
    assert (unknown.code, "plan.yaml:4: error: " in unknown.err, "did you mean timeout" in unknown.err) == (
        2,
        True,
        True,
    )
    as_json = run("run", plan(BAD), "--json")
    assert [each["line"] for each in objects(as_json)] == [7, 3, 9]
    assert json.loads(as_json.err)["kind"] == "invalid"
    assert objects(run("runs", "list"))[0]["items"] == before


def test_what_touches_the_machine_is_confirmed_and_what_reads_is_not(run, plan):
    refused = run("run", plan(GOOD))
    assert (refused.code, "give --yes" in refused.err) == (7, True)
    reading = [{"key": "list", "kind": "operation", "input": {"operation": "planning.projects.list"}}]
    assert run("run", plan(reading, "plan.json")).code == 0


def test_a_dry_run_runs_nothing(run, plan, tmp_path):
    steps = [{"key": "a", "kind": "file_edit", "input": {"path": "made.txt", "content": "x"}}]
    assert run("run", plan(steps), "--dry").code == 0
    assert not (tmp_path / "made.txt").exists()
    assert run("run", plan(steps), "--yes").code == 0
    assert (tmp_path / "made.txt").read_text() == "x"


def test_a_failure_is_told_with_the_end_of_its_output_and_retried_with_what_stands(run, plan):
    done = run("run", plan(FAILING), "--yes")
    assert done.code == codes.FAILED
    assert done.out.splitlines()[-3:-1][0].startswith("bad failed: ")
    assert "  | sorry" in done.out.splitlines()
    again = run("runs", "retry", "--yes")
    assert (again.code, "takes over good" in again.err) == (codes.FAILED, True)
    mended = [FAILING[0], {**FAILING[1], "input": {"run": ["echo", "mended"]}}]
    done = run("runs", "retry", "--yes", "--plan", plan(mended, "mended.json"))
    assert (done.code, "takes over good" in done.err) == (0, True)
    assert "bad | mended" in done.out
    assert "good running" not in done.out


def test_a_run_is_started_shown_recorded_and_made_again(run, plan):
    id_ = run("run", plan(GOOD), "--yes", "--detach", "--name", "other").out.strip()
    assert run("runs", "follow", id_).code == 0
    assert "hello | hello world 2" in run("runs", "follow", id_).out  # also of one that has ended
    shown = objects(run("runs", "show", id_))[0]
    assert (shown["run"]["name"], shown["counts"]) == ("other", {"succeeded": 4})
    assert objects(run("runs", "list", "--limit", "1"))[0]["items"][0]["id"] == id_
    recorded = objects(run("runs", "record", id_, "--step", "hello"))[0]["steps"]
    assert [each["step"]["key"] for each in recorded] == ["hello"]
    assert recorded[0]["attempts"][0]["input"]["run"] == ["echo", "hello world 2"]
    rewound = run("runs", "rewind", id_, "each", "--yes", "--change", 'run:=["echo", "other ${{ item }}"]')
    assert (rewound.code, "takes over hello" in rewound.err) == (0, True)
    assert "each[a] | other a" in rewound.out


@contextlib.contextmanager
def following(daemon, *arguments):
    argv = [sys.executable, "-m", "coder_local", "--data-dir", daemon.data_dir, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, env=environment(), stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process, word):
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(process.stderr.read())


def test_a_run_is_cancelled_from_elsewhere(run, plan, daemon):
    id_ = run("run", plan(HANGING), "--yes", "--detach").out.strip()
    with following(daemon, "runs", "follow", id_) as process:
        read_until(process, "hang | begun")
        assert run("runs", "cancel", id_).code == 7
        assert run("runs", "cancel", id_, "--yes", "--grace", "0").code == 0
        assert process.wait(30) == codes.CANCELLED
    assert run("runs", "pause", id_).code == 4


def test_a_deadline_has_the_code_of_a_timeout(run, plan):
    done = run("run", plan({"deadline": "PT0.3S", "steps": HANGING}), "--yes")
    assert done.code == codes.TIMED_OUT


def test_an_approval_is_said_and_given_elsewhere(run, plan, daemon):
    steps = [
        {"key": "ok", "kind": "approval", "input": {"prompt": "Deploy?", "shown": {"to": "prod"}}},
        {"key": "deploy", "kind": "command", "needs": ["ok"], "input": {"run": ["echo", "deployed"]}},
    ]
    path = plan(steps)
    with following(daemon, "run", path, "--yes") as process:
        said = [process.stderr.readline() for _ in range(5)]
        assert said[:4] == ["ok: Deploy?\n", "    {\n", '      "to": "prod"\n', "    }\n"]
        id_ = said[4].removeprefix("decide with: coder-local runs approve ").strip()
        assert run("runs", "approve", id_).code == 0
        assert process.wait(30) == 0
    assert run("runs", "approve", id_).code == 3
    id_ = run("run", path, "--yes", "--detach").out.strip()
    with following(daemon, "runs", "follow", id_) as process:
        assert process.stderr.readline() == "ok: Deploy?\n"
        done = run("runs", "reject", "last", "--note", "not today")
        assert done.code == 0, done.err
        assert process.wait(30) == codes.FAILED
    nothing = run("runs", "approve", id_)
    assert (nothing.code, "nothing of run" in nothing.err) == (4, True)


class _Never(http.server.BaseHTTPRequestHandler):
    """Takes a request and never answers it."""

    def do_POST(self):
        self.server.taken.set()
        self.server.over.wait(60)

    def log_message(self, *_):
        pass


@pytest.fixture
def silent():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Never)
    server.taken, server.over = threading.Event(), threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_following_goes_on_through_the_death_of_the_daemon(run, plan, daemon, tmp_path):
    go = tmp_path / "go"
    steps = [
        {
            "key": "loop",
            "kind": "command",
            "input": {"shell": f"echo one; until test -e {go}; do sleep 0.1; done; echo two"},
        }
    ]
    with following(daemon, "run", plan(steps), "--yes") as process:
        read_until(process, "loop | one")
        found = runtime.read(daemon.data_dir)
        os.kill(found.pid, signal.SIGKILL)
        assert spawn.wait_stopped(found, 20)
        go.touch()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert "the daemon has died; starting another one" in err
    assert (out.count("loop | two"), out.count("loop | one")) == (1, 0)  # each line is told once


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_what_a_crash_left_undecided_is_left_to_a_person(run, plan, daemon, silent):
    url = f"http://127.0.0.1:{silent.server_address[1]}/pay"
    steps = [{"key": "pay", "kind": "http", "input": {"method": "POST", "url": url, "json": {"cents": 5}}}]
    with following(daemon, "run", plan(steps), "--yes") as process:
        assert silent.taken.wait(30)
        os.kill(runtime.read(daemon.data_dir).pid, signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        assert process.returncode == codes.UNDECIDED, err
    assert "coder-local runs resume" in err
    assert run("runs", "resume", "last", "pay").code == 2
    assert run("runs", "resume", "last", "pay", "done", "--output", '{"paid": true}', "--yes").code == 0
    assert run("runs", "follow").code == 0
    assert objects(run("runs", "show"))[0]["steps"][0]["output"] == {"paid": True}


def test_a_run_of_many_steps_is_shown_whole(run, plan):
    wide = [{"key": "f", "kind": "timer", "input": {"duration": "PT0S"}, "foreach": list(range(1_100))}]
    answer = run("run", plan(wide), "--yes")
    assert answer.code == 0, answer.err
    shown = objects(run("runs", "show"))[0]
    assert [each["key"] for each in shown["steps"]] == ["f", *(f"f[{number}]" for number in range(1_100))]
    recorded = objects(run("runs", "record"))[0]
    assert len(recorded["steps"]) == 1_101
