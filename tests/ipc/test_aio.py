import asyncio
import gc
import shutil

import pytest

from coder_ipc import aio, runtime
from coder_ipc.errors import CallTimeout, ConnectionLost, NotRunning, RemoteError


@pytest.fixture
async def client(wire):
    async with await aio.Client.connect(wire.data_dir) as connected:
        yield connected


async def until(condition) -> None:
    """Let the loop run until `condition` holds; the test's own time limit ends a wait for what never comes."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_a_thousand_calls_at_once_each_get_their_own_answer(client):
    answers = await asyncio.gather(*(client.call("test.echo", {"n": n}) for n in range(1000)))
    assert answers == [{"n": n} for n in range(1000)]


async def test_more_calls_than_the_buffers_hold_are_answered(client):
    text = "x" * 20_000
    answers = await asyncio.gather(*(client.call("test.echo", {"t": text}) for _ in range(200)))
    assert all(answer == {"t": text} for answer in answers)


async def test_a_slow_call_does_not_hold_up_a_quick_one(client):
    slow = asyncio.create_task(client.call("test.hang"))
    assert await client.call("test.echo", {"a": 1}) == {"a": 1}
    assert not slow.done()
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow


async def test_a_refusal_carries_all_that_was_said(client):
    with pytest.raises(RemoteError) as caught:
        await client.call("test.invalid")
    assert (caught.value.kind, caught.value.field, len(caught.value.faults)) == ("invalid", "/title", 2)


async def test_cancelling_the_task_cancels_the_call(client, wire):
    task = asyncio.create_task(client.call("test.hang"))
    await until(lambda: "test.hang" in wire.methods)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: wire.cancelled)
    assert await client.call("test.echo") == {}


async def test_a_call_past_its_limit_is_cancelled(client, wire):
    with pytest.raises(CallTimeout, match=r"gave no answer in 0.02 s"):
        await client.call("test.hang", timeout=0.02)
    await until(lambda: wire.cancelled)


async def test_progress_is_reported_and_a_failing_handler_harms_nothing(client):
    seen, faults = [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))

    def handler(step):
        seen.append(step["done"])
        raise ZeroDivisionError

    assert await client.call("test.progress", on_progress=handler) == "done"
    assert seen == [1, 2, 3]
    assert [type(fault) for fault in faults] == [ZeroDivisionError] * 3


async def test_what_is_for_nobody_or_of_a_later_version_is_passed_over(client):
    later = []
    client.on("later.version", later.append)
    assert await client.call("test.mixed") == "mine"
    assert later == [{}]


async def test_a_notification_handler_is_called_until_it_is_ended(client):
    seen = []
    end = client.on("events.event", seen.append)
    async with await client.events():
        await client.call("test.emit", {"types": ["a"]})
        await until(lambda: seen)
        end()
        end()
        await client.call("test.emit", {"types": ["b"]})
    assert [params["event"]["type"] for params in seen] == ["a"]


async def test_items_come_in_order(client):
    assert [item async for item in client.items("test.count", {"to": 100})] == list(range(100))


async def test_a_stream_left_early_is_cancelled(client, wire):
    stream = client.items("test.count", {"to": 2, "then": "hang"})
    assert [await anext(stream), await anext(stream)] == [0, 1]
    await stream.aclose()
    await until(lambda: wire.cancelled)


async def test_a_stream_that_fails_gives_its_items_first(client):
    stream = client.items("test.count_fail")
    assert await anext(stream) == 0
    with pytest.raises(RemoteError, match="fell over"):
        await anext(stream)


async def test_events_sent_together_with_the_answer_are_not_lost(client):
    await client.call("test.emit", {"types": ["a"] * 5})
    async with await client.events(cursor="e1:2") as events:
        assert [(await anext(events))["cursor"] for _ in range(3)] == ["e1:3", "e1:4", "e1:5"]
        assert (events.cursor, events.head) == ("e1:5", "e1:5")


async def test_a_reset_is_yielded(client):
    async with await client.events(cursor="e1:7") as events:
        assert (await anext(events))["reason"] == "ahead"
        assert events.cursor == "e1:0"


async def test_a_consumer_that_falls_behind_gets_every_event_and_memory_stays_bounded(client, wire, monkeypatch):
    monkeypatch.setattr(aio, "EVENT_QUEUE_LIMIT", 10)
    async with await client.events() as events:
        await client.call("test.emit", {"types": ["a"] * 35})
        await until(lambda: "events.unsubscribe" in wire.methods)
        seen = [(await anext(events))["cursor"] for _ in range(35)]
        assert seen == [f"e1:{seq}" for seq in range(1, 36)]
        assert wire.methods.count("events.subscribe") > 1


async def test_a_dropped_connection_fails_all_that_waits(client):
    hanging = asyncio.create_task(client.call("test.hang"))
    events = await client.events()
    following = asyncio.create_task(anext(events))
    stream = client.items("test.count", {"to": 1, "then": "hang"})
    assert await anext(stream) == 0
    with pytest.raises(ConnectionLost):
        await client.call("test.drop")
    for waiting in (hanging, following, anext(stream)):
        with pytest.raises(ConnectionLost):
            await waiting
    with pytest.raises(ConnectionLost):
        await client.call("test.echo")


async def test_a_stream_abandoned_when_the_connection_drops_reports_nothing(client):
    faults = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    stream = client.items("test.count", {"to": 1, "then": "hang"})
    assert await anext(stream) == 0
    with pytest.raises(ConnectionLost):
        await client.call("test.drop")
    await stream.aclose()
    del stream
    gc.collect()
    assert faults == []


@pytest.mark.parametrize("text", ["HTTP/1.1 400 Bad\r\n\r\n", "Content-Length: 3\r\n\r\n{x}"])
async def test_a_peer_that_speaks_otherwise_loses_the_connection(client, text):
    with pytest.raises(ConnectionLost):
        await client.call("test.garbage", {"bytes": text})


async def test_what_was_sent_before_closing_arrives(wire):
    client = await aio.Client.connect(wire.data_dir)
    client.notify("client.goodbye")
    await client.close()
    await client.close()
    await until(lambda: "client.goodbye" in wire.methods)
    with pytest.raises(ConnectionLost, match="was closed"):
        await client.call("test.echo")


async def test_connecting_fails_as_the_synchronous_client_does(wire, tmp_path_factory):
    empty, copy = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("copy")
    with pytest.raises(NotRunning, match="no daemon runs on"):
        await aio.Client.connect(empty)
    shutil.copy(wire.data_dir / "runtime.json", copy)
    with pytest.raises(NotRunning, match=r"serves .*, not "):
        await aio.Client.connect(copy)
    found = runtime.read(wire.data_dir)
    with pytest.raises(RemoteError, match="wrong token"):
        await aio.Client.connect(found._replace(token="guess"))
    with pytest.raises(NotRunning, match="no daemon answers at"):
        await aio.Client.connect(found._replace(socket=str(empty / "daemon.sock")))
    wire.answers = False
    with pytest.raises(CallTimeout, match=r"does not answer in 0.05 s"):
        await aio.Client.connect(found, timeout=0.05)
