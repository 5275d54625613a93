"""The command on a real terminal: tables, questions, progress, Ctrl-C."""

import pytest

from tests.cli.terminal import Terminal

pytestmark = pytest.mark.alone


def shown(daemon, *arguments: str, columns: int = 80) -> str:
    terminal = Terminal(daemon, *arguments, columns=columns)
    assert terminal.end() == 0, terminal.shown
    return terminal.shown


def test_a_list_is_a_table_cut_to_the_width_that_cannot_steer(daemon):
    assert shown(daemon, "probe", "rows", "a", "b").splitlines() == [
        "id  title              note",
        "a   \\u001b[31ma\\u202e  日本語 text",
        "b   \\u001b[31mb\\u202e  日本語 text",
    ]
    narrow = shown(daemon, "probe", "rows", "a" * 30, columns=24).splitlines()
    assert all(len(line) <= 24 for line in narrow)


def test_json_is_given_when_asked_for(daemon):
    assert shown(daemon, "probe", "count", "--to", "2", "--json") == "0\n1\n"
    assert shown(daemon, "probe", "work", "--json", "--quiet") == '"worked"\n'


def test_status_and_doctor_are_written_for_people(daemon):
    assert "ready     version " in shown(daemon, "status")
    assert "ok       daemon       running, version" in shown(daemon, "doctor")
    assert "notes.note" in shown(daemon, "notes", "create", "--workspace", "w", "--title", "t") + shown(
        daemon, "events", columns=200
    )


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("yes\n", 0), ("n\n", 7), ("\n", 7), ("\x04", 7)])
def test_a_dangerous_operation_is_asked_about_with_what_it_would_do(daemon, typed, code):
    terminal = Terminal(daemon, "probe", "erase", "x\x1b")
    terminal.read_until("Go on? [y/N] ")
    assert "probe.erase is destructive: it loses something that undo cannot bring back" in terminal.shown
    assert "  id: x\\u001b\n" in terminal.shown
    terminal.type(typed)
    assert terminal.end() == code
    assert ("is gone" in terminal.shown) is (code == 0)


def test_progress_is_drawn(daemon):
    text = shown(daemon, "probe", "work", "--steps", "3")
    assert "probe.work: step" in text
    assert text.endswith("worked\n")
    assert "step" not in shown(daemon, "probe", "work", "--quiet")


def test_ctrl_c_cancels_the_call_in_the_daemon(daemon):
    terminal = Terminal(daemon, "probe", "hang")
    with daemon.client() as client:
        client.call("probe.until_hanging", timeout=20)
        terminal.interrupt()
        client.call("probe.until_cancelled", timeout=20)
    assert terminal.end() == 130
    assert terminal.shown.endswith("interrupted\n")


def test_ctrl_c_ends_following(daemon):
    terminal = Terminal(daemon, "events", "--follow")
    terminal.read_until("following; Ctrl-C ends it")
    terminal.interrupt()
    assert terminal.end() == 130
