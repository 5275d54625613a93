import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from coder_ipc import runtime
from coder_ipc.client import Client
from coder_ipc.errors import CallTimeout, ConnectionLost, NotRunning, RemoteError


@pytest.fixture
def client(server):
    with Client.connect(server.data_dir) as connected:
        yield connected


def cancelled(server) -> bool:
    return server.wait_for(lambda seen: seen.cancelled)


def test_importing_the_client_imports_neither_asyncio_nor_anything_but_the_standard_library():
    code = (
        "import sys; before = set(sys.modules); import coder_ipc.client, coder_ipc.spawn;"
        "print('\\n'.join(sorted({name.partition('.')[0] for name in set(sys.modules) - before})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": "ipc"}
    )
    loaded = set(done.stdout.split())
    assert "coder_ipc" in loaded
    assert not loaded & {"asyncio", "hashlib", "tempfile", "ctypes", "inspect", "dataclasses", "logging"}
    assert loaded - {"coder_ipc"} <= sys.stdlib_module_names


def test_a_call_answers_what_the_operation_answered(client):
    params = {"text": "\u00e4 \U0001f600 \ud800", "list": [1, None, True], "deep": {"a": {}}}
    assert client.call("test.echo", params) == params
    assert client.call("test.echo") == {}


def test_the_greeting_is_kept(server):
    with Client.connect(str(server.data_dir), workspace="w1") as client:
        assert client.hello["protocol"] == 1
        assert client.hello["workspace"] == "w1"


def test_a_runtime_can_be_connected_to(server):
    with Client.connect(runtime.read(server.data_dir)) as client:
        assert client.call("test.echo", {"a": 1}) == {"a": 1}


def test_a_refusal_carries_all_that_was_said(client):
    with pytest.raises(RemoteError) as caught:
        client.call("test.invalid")
    assert (caught.value.kind, caught.value.field, caught.value.hint) == ("invalid", "/title", "name it")
    assert [fault["field"] for fault in caught.value.faults] == ["/title", "/due"]
    with pytest.raises(RemoteError) as caught:
        client.call("test.stale")
    assert (caught.value.exit_code, caught.value.data) == (5, {"current": {"rev": 3}})
    with pytest.raises(RemoteError, match="no operation") as caught:
        client.call("test.ehco")
    assert (caught.value.code, caught.value.exit_code) == (-32601, 3)
    assert client.call("test.echo", {"still": "there"}) == {"still": "there"}


def test_a_value_json_cannot_carry_is_refused_before_it_is_sent(client):
    with pytest.raises(ValueError, match="JSON compliant"):
        client.call("test.echo", {"x": float("nan")})
    with pytest.raises(TypeError):
        client.call("test.echo", {"x": object()})
    assert client.call("test.echo", {"a": 1}) == {"a": 1}


def test_what_is_for_nobody_or_of_a_later_version_is_passed_over(client):
    assert client.call("test.mixed") == "mine"


def test_progress_is_reported_in_order(client):
    seen = []
    assert client.call("test.progress", on_progress=seen.append) == "done"
    assert [step["done"] for step in seen] == [1, 2, 3]


def test_a_call_past_its_limit_is_cancelled_and_its_late_answer_is_not_taken_for_another(client, server):
    with pytest.raises(CallTimeout, match=r"test.hang gave no answer in 0.05 s"):
        client.call("test.hang", timeout=0.05)
    assert cancelled(server)
    assert client.call("test.echo", {"next": 1}, timeout=5) == {"next": 1}


@contextmanager
def interrupted_when(ready):
    """Expect Ctrl-C, which another thread sends once `ready()` has returned."""
    main, caught = threading.get_ident(), threading.Event()

    def run():
        ready()
        signal.pthread_kill(main, signal.SIGINT)
        # a signal that comes just before a system call blocks does not end it: a person presses again, and so does this
        while not caught.wait(2):
            signal.pthread_kill(main, signal.SIGINT)

    # whoever runs the tests in the background has had them ignore it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        caught.set()
        thread.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pthread_kill")
def test_ctrl_c_cancels_the_call_and_leaves_the_client_usable(client, server):
    waiting = threading.Event()
    with interrupted_when(lambda: waiting.wait(10)):
        client.call("test.progress", {"then": "hang"}, on_progress=lambda _: waiting.set())
    assert cancelled(server)
    assert client.call("test.echo", {"next": 1}) == {"next": 1}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pthread_kill")
def test_ctrl_c_in_the_middle_of_a_frame_ends_the_connection_instead_of_tearing_it(client):
    with pytest.raises(CallTimeout):
        client.call("test.stop_reading", timeout=0.05)
    main = threading.get_ident()

    def sending():
        while sys._current_frames()[main].f_code.co_name != "send":
            threading.Event().wait(0.001)

    with interrupted_when(sending):
        client.call("test.echo", {"big": "x" * 5_000_000})
    with pytest.raises(ConnectionLost, match="interrupted halfway"):
        client.call("test.echo")


def test_an_exception_of_the_progress_handler_cancels_the_call(client, server):
    with pytest.raises(ZeroDivisionError):
        client.call("test.progress", on_progress=lambda step: 1 // (step["done"] - 2))
    assert cancelled(server)


def test_items_come_in_order_and_a_call_between_them_does_not_lose_any(client):
    seen = []
    for item in client.items("test.count", {"to": 50}):
        seen.append(item)
        assert client.call("test.echo", {"at": item}) == {"at": item}
    assert seen == list(range(50))


def test_a_stream_left_early_is_cancelled(client, server):
    stream = client.items("test.count", {"to": 3, "then": "hang"})
    assert [next(stream), next(stream)] == [0, 1]
    stream.close()
    assert cancelled(server)


def test_a_stream_that_fails_gives_its_items_first(client):
    stream = client.items("test.count_fail")
    assert next(stream) == 0
    with pytest.raises(RemoteError) as caught:
        next(stream)
    assert (caught.value.kind, caught.value.data) == ("broken", {"report_id": "r1"})


def test_events_after_subscribing_are_all_seen(client, server):
    with client.events() as events:
        client.call("test.emit", {"types": ["a.b.c", "a.b.d"]})
        assert [next(events)["event"]["type"] for _ in range(2)] == ["a.b.c", "a.b.d"]
        assert events.cursor == "e1:2"
        assert events.wait(0.01) is None
    assert server.wait_for(lambda seen: "events.unsubscribe" in seen.methods)


def test_a_cursor_resumes_without_gap_or_repetition(client, server):
    client.call("test.emit", {"types": ["a"] * 20})
    with client.events(cursor="e1:15") as events:
        client.call("test.emit", {"types": ["b"]})
        assert [next(events)["cursor"] for _ in range(6)] == [f"e1:{seq}" for seq in range(16, 22)]
        assert (events.head, events.min) == ("e1:20", "e1:0")


def test_types_are_asked_for(client):
    with client.events(types=["b"]) as events, client.events() as everything:
        client.call("test.emit", {"types": ["a", "b"]})
        assert next(events)["cursor"] == "e1:2"
        assert [next(everything)["cursor"] for _ in range(2)] == ["e1:1", "e1:2"]


def test_a_reset_is_yielded_and_moves_the_cursor_to_the_head(client):
    with client.events(cursor="e1:99") as events:
        reset = next(events)
        assert (reset["reason"], reset["head"], events.cursor) == ("ahead", "e1:0", "e1:0")
        client.call("test.emit", {"types": ["a"]})
        assert next(events)["event"]["type"] == "a"


def test_a_notification_is_sent(client, server):
    client.notify("client.note", {"x": 1})
    assert server.wait_for(lambda seen: "client.note" in seen.methods)


def test_a_dropped_connection_is_said_at_once_and_ever_after(client):
    with pytest.raises(ConnectionLost, match="connection to the daemon is lost"):
        client.call("test.drop")
    with pytest.raises(ConnectionLost):
        client.call("test.echo")
    client.close()
    client.close()


@pytest.mark.parametrize(
    "text", ["HTTP/1.1 400 Bad\r\n\r\n", "Content-Length: 3\r\n\r\n{x}", "Content-Length: 9999999999\r\n\r\n"]
)
def test_a_peer_that_speaks_otherwise_loses_the_connection(client, text):
    with pytest.raises(ConnectionLost):
        client.call("test.garbage", {"bytes": text})


def test_an_error_without_id_answers_the_call_that_waits(client):
    with pytest.raises(RemoteError, match="limit of 1048576 bytes") as caught:
        client.call("test.echo", {"big": "x" * 2_000_000})
    assert caught.value.kind == "too_large"


def test_a_daemon_that_reads_nothing_ends_the_call_at_its_limit(client):
    with pytest.raises(CallTimeout):
        client.call("test.stop_reading", timeout=0.05)
    start = time.monotonic()
    with pytest.raises(ConnectionLost, match="reads nothing"):
        client.call("test.echo", {"big": "x" * 5_000_000}, timeout=0.2)
    assert time.monotonic() - start < 5


def test_a_closed_client_says_so(client):
    client.close()
    with pytest.raises(ConnectionLost, match="was closed"):
        client.call("test.echo")


class TestConnecting:
    def test_an_empty_directory_has_no_daemon(self, tmp_path):
        with pytest.raises(NotRunning, match="no daemon runs on") as caught:
            Client.connect(tmp_path)
        assert "coder-local serve" in caught.value.hint

    def test_a_file_left_by_a_crash_is_no_daemon(self, server, tmp_path_factory):
        left = tmp_path_factory.mktemp("left")
        shutil.copy(server.data_dir / "runtime.json", left)
        fields = (left / "runtime.json").read_text().replace(server.socket, str(left / "daemon.sock"))
        (left / "runtime.json").write_text(fields)
        with pytest.raises(NotRunning, match="no daemon answers at"):
            Client.connect(left)

    def test_a_copied_data_directory_does_not_reach_the_daemon_of_the_original(self, server, tmp_path_factory):
        copy = tmp_path_factory.mktemp("copy")
        shutil.copy(server.data_dir / "runtime.json", copy)
        with pytest.raises(NotRunning, match=r"serves .*, not "):
            Client.connect(copy)

    def test_a_data_directory_named_by_a_link_is_the_same(self, server, tmp_path_factory):
        link = tmp_path_factory.mktemp("links") / "data"
        link.symlink_to(server.data_dir)
        with Client.connect(link) as client:
            assert client.call("test.echo") == {}

    def test_a_wrong_token_is_refused(self, server):
        found = runtime.read(server.data_dir)
        with pytest.raises(RemoteError) as caught:
            Client.connect(found._replace(token="guess"))
        assert caught.value.exit_code == 6

    def test_a_daemon_that_does_not_answer_is_not_waited_for_longer_than_asked(self, server):
        server.answers = False
        with pytest.raises(CallTimeout):
            Client.connect(server.data_dir, timeout=0.1)
