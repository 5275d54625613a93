"""`run` on a real terminal: the tree, a decision, Ctrl-C."""

import json

import pytest

from tests.cli.terminal import Terminal

pytestmark = pytest.mark.alone

APPROVAL = [
    {"key": "ok", "kind": "approval", "input": {"prompt": "Deploy?", "shown": {"to": "prod\x1b"}}},
    {"key": "deploy", "kind": "command", "needs": ["ok"], "input": {"run": ["echo", "deployed"]}},
]
STUBBORN = [
    {
        "key": "stubborn",
        "kind": "command",
        "input": {"shell": "trap 'echo heard' INT; echo begun; while :; do sleep 0.1; done", "grace": "PT0.5S"},
    }
]


def test_the_tree_is_drawn_and_a_plan_is_confirmed_with_what_it_does(daemon, plan):
    steps = [{"key": f"s{n}", "kind": "command", "input": {"run": ["echo", f"text {n}"]}} for n in range(2)]
    steps.append({"key": "many", "kind": "command", "foreach": list(range(9)), "input": {"run": ["true"]}})
    terminal = Terminal(daemon, "run", plan(steps))
    terminal.read_until("Go on? [y/N] ")
    assert "runs programs or changes files, which undo cannot take back" in terminal.shown
    assert "  s1                    command     destructive\n" in terminal.shown
    terminal.type("y\n")
    assert terminal.end() == 0
    assert "9 of 9 done" in terminal.shown
    assert "11 of 11 done" in terminal.shown
    assert terminal.shown.splitlines()[-1].removeprefix("\x1b[?25h").startswith("run ")


@pytest.mark.parametrize(("typed", "code"), [("y", 0), ("n", 1)])
def test_a_decision_is_asked_for_with_what_it_is_about(daemon, plan, typed, code):
    terminal = Terminal(daemon, "run", plan(APPROVAL), "--yes")
    terminal.read_until("Approve? [y]es, [n]o, [l]ater: ")
    assert '      "to": "prod\\u001b"\n' in terminal.shown
    terminal.type(f"what\n{typed}\n")
    assert terminal.end() == code


def test_ctrl_c_cancels_and_shows_the_end(daemon, plan):
    terminal = Terminal(daemon, "run", plan(STUBBORN), "--yes")
    terminal.read_until("begun")
    terminal.interrupt()
    assert terminal.end() == 130
    assert "cancelling; Ctrl-C again leaves the run to itself" in terminal.shown
    assert " cancelled after " in terminal.shown


def test_a_second_ctrl_c_leaves_the_run(daemon, plan):
    patient = [{**STUBBORN[0], "input": {**STUBBORN[0]["input"], "grace": "PT1H"}}]
    terminal = Terminal(daemon, "run", plan(patient), "--yes")
    terminal.read_until("begun")
    terminal.interrupt()
    terminal.read_until("cancelling")
    terminal.interrupt()
    assert terminal.end() == 130
    assert "left; the run goes on. Follow it with: coder-local runs follow " in terminal.shown
    run = daemon.call("execution.runs.list", limit=1, sort="-created_at")["items"][0]
    assert run["status"] in {"running", "cancelling"}
    daemon.call("execution.runs.cancel", id=run["id"], grace=0, **_confirmed(daemon, run["id"]))
    while daemon.call("execution.runs.get", id=run["id"])["run"]["status"] != "cancelled":
        pass


def _confirmed(daemon, run):
    from coder_ipc.errors import RemoteError

    try:
        daemon.call("execution.runs.cancel", id=run, grace=0)
    except RemoteError as error:
        return {"confirm": error.data["confirm"]}
    return {}


def test_the_runs_below_a_run_are_shown_with_it(daemon, plan):
    inner = {"key": "inner", "kind": "sub_run", "input": {"steps": [{**APPROVAL[1], "needs": []}]}}
    outer = {"key": "outer", "kind": "sub_run", "foreach": [1, 2], "input": {"steps": [inner]}}
    assert Terminal(daemon, "run", plan([outer]), "--yes").end() == 0
    found = daemon.call("execution.runs.list", limit=5, sort="-created_at")["items"]
    terminal = Terminal(daemon, "runs", "show", next(each["id"] for each in found if not each["depth"]), columns=100)
    assert terminal.end() == 0
    keys = [
        line[2:].split("  succeeded")[0].rstrip() for line in terminal.shown.splitlines() if "  succeeded  " in line
    ]
    below = ["    inner", "      deploy"]
    assert keys == ["outer", "  outer[1]", *below, "  outer[2]", *below]


def test_show_and_record_are_written_for_people(daemon, plan):
    assert Terminal(daemon, "run", plan([{**APPROVAL[1], "needs": []}]), "--yes").end() == 0
    terminal = Terminal(daemon, "runs", "show", columns=100)
    assert terminal.end() == 0
    assert "status    succeeded: 1 of 1 done\n" in terminal.shown
    terminal = Terminal(daemon, "runs", "record", columns=100)
    assert terminal.end() == 0
    assert "deploy  command  succeeded\n  1. done, adoptable, " in terminal.shown
    assert json.dumps({"run": ["echo", "deployed"]}) in terminal.shown
    terminal = Terminal(daemon, "runs", "list", "--limit", "2", columns=100)
    assert terminal.end() == 0
    assert "succeeded" in terminal.shown
