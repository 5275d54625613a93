"""What a plugin can do from outside a transaction: transact, read, listen, and act with rights that were kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from coder_local._admission import Admission, tokens
from coder_local._registry.context import OutsideContext
from coder_local._registry.dispatch import Call, admitted
from coder_local._registry.principal import OWNER, Principal
from coder_local._store import feed as feeds
from coder_local._store.caller import Caller
from coder_local._store.scope import WriteScope
from coder_local.api import (
    Context,
    DeclarationError,
    Domain,
    Invalid,
    NotFound,
    Refused,
    Rights,
    Safety,
    Snapshot,
    Stale,
    TimedOut,
    Transaction,
    Unsupported,
)
from coder_local.api.errors import Unauthenticated

from .probe import ENDLESS, MARK, Probe


def context(probe: Probe, principal: Principal = OWNER, safety: Safety = Safety.WRITE) -> OutsideContext:
    call = Call("probe.act", b"{}", principal, lambda _body, _error: None, request_id="r1")
    return OutsideContext(probe.kernel.dispatcher, call, admitted(principal, safety))


def said_by(tx: Transaction) -> Caller:
    assert isinstance(tx, WriteScope)
    return tx.caller


# -- calls ------------------------------------------------------------------------------------------------------------


async def test_a_command_finds_the_context_of_its_caller_on_the_thread_of_the_writer(probe: Probe) -> None:
    token = MARK.set("mine")
    found = await context(probe).call("probe.relay_action", name="probe.look_around", input={})
    MARK.reset(token)
    assert found == ["writer", "mine"]
    assert await context(probe).call("probe.look_around") == ["writer", ""]


# -- transact and read ------------------------------------------------------------------------------------------------


async def test_transact_commits_and_hands_the_result_over_as_it_is(probe: Probe) -> None:
    ctx, thing = context(probe), object()

    def _count(tx: Transaction, name: str, *, by: int) -> tuple[Any, ...]:
        assert threading.current_thread().name == "writer"
        return [tx.number(name) for _ in range(by)], thing, said_by(tx)

    numbers, same, caller = await ctx.transact(_count, "c", by=2)
    assert (numbers, same is thing) == ([1, 2], True)
    assert (caller.actor, caller.operation, caller.request_id) == ("user", "probe.count", "r1")
    assert await ctx.transact(lambda tx: said_by(tx).operation) == "probe.transaction"


async def test_an_exception_of_the_function_takes_all_back_and_comes_out(probe: Probe) -> None:
    ctx = context(probe)

    def fail(tx: Transaction) -> None:
        tx.number("c")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await ctx.transact(fail)
    assert await ctx.transact(lambda tx: tx.number("c")) == 1


async def test_to_cancel_the_wait_does_not_undo_what_commits(probe: Probe) -> None:
    ctx, held = context(probe), probe.ask("probe.hold")
    await asyncio.to_thread(probe.held.wait, 10)
    task = asyncio.create_task(ctx.transact(lambda tx: tx.number("c")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    probe.release.set()
    await held.answer()
    assert await ctx.transact(lambda tx: tx.number("c")) == 2


async def test_a_function_has_a_deadline(probe: Probe) -> None:
    ctx = context(probe)
    ctx.deadline = 0.1
    with pytest.raises(TimedOut):
        await ctx.transact(lambda tx: tx.rows(ENDLESS))
    with pytest.raises(TimedOut):
        await ctx.read(lambda read: read.rows(ENDLESS))

    def spin(read: Snapshot) -> None:
        while True:
            read.rows("SELECT 1")

    with pytest.raises(TimedOut, match=r"probe\.spin"):
        await ctx.read(spin)
    assert await ctx.read(lambda read: read.rows("SELECT 1")) == [(1,)]


async def test_read_runs_in_a_snapshot_apart_and_ends_with_its_waiter(probe: Probe) -> None:
    ctx, began = context(probe), threading.Event()

    def look(read: Snapshot, word: str) -> tuple[Any, ...]:
        return threading.current_thread().name, word, read.call("other.double", number=2)

    assert await ctx.read(look, "x") == ("reader", "x", 4)

    def endless(read: Snapshot) -> None:
        began.set()
        read.rows(ENDLESS)

    task = asyncio.create_task(ctx.read(endless))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await ctx.read(look, "y") == ("reader", "y", 4)  # the reader is free again


async def test_plugins_write_while_the_daemon_stops(probe: Probe) -> None:
    ctx = context(probe)
    probe.kernel.dispatcher.closing = True
    assert await ctx.transact(lambda tx: tx.number("c")) == 1
    assert await ctx.call("other.set", number=3) == 3
    assert (await probe.ask("other.set", number=3).error()).kind == "locked"


async def test_what_a_function_calls_is_held_to_what_the_context_was_admitted_for(probe: Probe) -> None:
    probe.kernel.dispatcher.gate = Admission(probe.kernel)

    def wipe(tx: Transaction) -> str:
        return str(tx.call("other.wipe"))

    with pytest.raises(Refused):
        await context(probe).transact(wipe)
    assert await context(probe, safety=Safety.DESTRUCTIVE).transact(wipe) == "wiped"


# -- rights -----------------------------------------------------------------------------------------------------------


async def test_rights_outlive_the_call_and_lead_to_the_same_caller(probe: Probe) -> None:
    principal = Principal("agent:a", "w", frozenset({Safety.READ, Safety.EXTERNAL}), frozenset({"other"}), owner=False)
    rights = context(probe, principal, Safety.EXTERNAL).rights()
    assert rights == Rights(
        actor="agent:a", workspace="w", scopes=(Safety.READ, Safety.EXTERNAL), domains=("other",), owner=False,
        token=None, confirmed=(Safety.EXTERNAL,),
    )  # fmt: skip
    kept = msgspec.json.decode(msgspec.json.encode(rights), type=Rights)
    assert context(probe).acting(kept).rights() == rights
    assert context(probe, safety=Safety.WRITE).rights().confirmed == ()


async def test_acting_reaches_what_the_rights_reach_and_no_further(probe: Probe) -> None:
    probe.kernel.dispatcher.gate = Admission(probe.kernel)
    ctx = context(probe)
    agent = Rights(
        actor="agent:a", workspace="w", scopes=(Safety.WRITE, Safety.DESTRUCTIVE), domains=("other",), owner=False,
        token=None,
    )  # fmt: skip
    acting = ctx.acting(agent, "r2")
    assert (acting.actor, acting.workspace) == ("agent:a", "w")
    assert await acting.call("other.set", number=1) == 1
    for name, rule in (("other.double", "scope"), ("probe.do", "domain"), ("other.wipe", "safety")):
        with pytest.raises(Refused) as refused:
            await acting.call(name, **({"number": 1} if name == "other.double" else {}))  # type: ignore[arg-type]
        assert refused.value.data["rule"] == rule
    agreed = msgspec.structs.replace(agent, confirmed=(Safety.DESTRUCTIVE,))
    assert await ctx.acting(agreed).call("other.wipe") == "wiped"
    with pytest.raises(Refused) as personal:
        await ctx.acting(agreed).call("other.wipe_all")
    assert personal.value.data["rule"] == "person_only"
    caller = await acting.transact(said_by)
    assert (caller.actor, caller.workspace, caller.operation, caller.request_id) == (
        "agent:a", "w", "probe.said_by", "r2",
    )  # fmt: skip


async def test_a_revoked_token_is_told_at_each_use(probe: Probe) -> None:
    gate = probe.kernel.dispatcher.gate = Admission(probe.kernel)
    ctx = context(probe)

    def make(tx: Transaction) -> tokens.NewToken:
        assert isinstance(tx, WriteScope)
        return tokens.create(tx, name="a", scopes=(Safety.READ, Safety.WRITE))

    made = await ctx.transact(make)
    acting = ctx.acting(context(probe, gate.authenticate(made.token)).rights())
    for _ in range(200):  # far more than the rate of a token allows
        await acting.call("other.set", number=1)
    events = acting.subscribe()
    await ctx.transact(lambda tx: tokens.revoke(tx, made.info.id))  # type: ignore[arg-type]
    uses: list[Callable[[], Any]] = [
        lambda: acting.call("other.set", number=1),
        lambda: acting.transact(said_by),
        lambda: acting.read(lambda read: read.now()),
    ]
    for use in uses:
        with pytest.raises(Unauthenticated):
            await use()
    with pytest.raises(Unauthenticated):
        acting.subscribe()
    await say(ctx, "after")
    with pytest.raises(Unauthenticated):
        await anext(events)


# -- looking up -------------------------------------------------------------------------------------------------------


async def test_operations_are_looked_up_and_inputs_checked(probe: Probe) -> None:
    ctx = context(probe)
    assert ctx.operation("other.wipe").safety is Safety.DESTRUCTIVE
    with pytest.raises(NotFound) as unknown:
        ctx.operation("other.wip")
    assert unknown.value.hint == "did you mean other.wipe?"

    def look(read: Snapshot) -> list[Any]:
        found = read.check("other.double", {"number": "x", "nunber": 2})
        return [read.operation("other.wipe").person_only, read.check("other.double", {"number": 2}), found]

    personal, none, faults = await ctx.read(look)
    assert (personal, none) == (False, [])
    assert [fault.field for fault in faults] == ["/number", "/nunber"]
    assert faults[1].hint == "did you mean number?"
    with pytest.raises(NotFound):
        await ctx.read(lambda read: read.check("other.nothing", {}))


async def test_an_operation_of_a_stopped_plugin_is_unsupported(probe: Probe) -> None:
    from coder_local._registry.plugins import Status

    ctx, registry = context(probe), probe.kernel.registry
    registry.stop(registry.plugins["other"], Status.DISABLED, "")
    with pytest.raises(Unsupported):
        ctx.operation("other.wipe")
    with pytest.raises(Unsupported):
        await ctx.read(lambda read: read.check("other.wipe", {}))


async def test_hooks_time_and_folder_are_at_hand(probe: Probe, tmp_path: Any) -> None:
    ctx = context(probe)
    assert ctx.now_ms() <= probe.kernel.store.clock.now_ms()
    assert list(ctx.offered("widgets")) == await ctx.read(lambda read: list(read.offered("widgets"))) == []
    folder = ctx.folder
    assert folder == tmp_path / "probe" == await ctx.read(lambda read: read.folder)
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_a_folder_is_that_of_the_plugin_whose_function_runs(probe: Probe, tmp_path: Any) -> None:
    found: list[Any] = []
    fresh = Domain("third")

    @fresh.query("third.where")
    def where(read: Snapshot) -> int:
        """Note where things are kept."""
        found.append(read.folder)
        return 1

    probe.kernel.take(fresh)

    def ask(tx: Transaction) -> None:
        tx.call("third.where")
        found.append(tx.folder)

    await context(probe).transact(ask)
    assert found == [tmp_path / "third", tmp_path / "probe"]
    for name in ("", "snapshots"):
        with pytest.raises(DeclarationError):
            probe.kernel.store.folders.of(name)


# -- listening --------------------------------------------------------------------------------------------------------


def say(ctx: Context, *words: str) -> Any:
    def speak(tx: Transaction) -> None:
        assert isinstance(tx, WriteScope)
        tx.events += [(f"probe.word.{word}", f"probe.word/{word}", f'{{"word":"{word}"}}') for word in words]

    return ctx.transact(speak)


async def test_a_subscription_hears_from_the_call_on(probe: Probe) -> None:
    ctx = context(probe)
    await say(ctx, "before")
    events = ctx.subscribe("probe.word.*", subjects=["probe.word/a", "probe.word/c"])
    await say(ctx, "a", "b")
    await say(ctx, "c")
    first, second = await anext(events), await anext(events)
    assert (first.type, first.subject, first.actor, first.data) == (
        "probe.word.a", "probe.word/a", "user", {"word": "a"},
    )  # fmt: skip
    assert first.id == f"{probe.kernel.feed.epoch}:{first.seq}"
    assert second.seq == first.seq + 2
    with ctx.subscribe(cursor=first.id) as again:
        assert [(await anext(again)).data["word"] for _ in range(2)] == ["b", "c"]
    events.close()
    assert len(probe.kernel.feed) == 0


async def test_closing_ends_a_loop_that_waits(probe: Probe) -> None:
    heard: list[str] = []
    events = context(probe).subscribe()

    async def follow() -> None:
        async for event in events:
            heard.append(event.type)

    task = asyncio.create_task(follow())
    await say(context(probe), "a")
    while not heard:
        await asyncio.sleep(0)
    events.close()
    await task
    assert heard == ["probe.word.a"]
    with pytest.raises(StopAsyncIteration):
        await anext(events)


async def test_who_reads_slowly_costs_little_and_misses_nothing(probe: Probe) -> None:
    ctx = context(probe)
    events = ctx.subscribe()
    told = [str(number) for number in range(3 * feeds.RING)]
    for start in range(0, len(told), 100):
        await say(ctx, *told[start : start + 100])
    with events:
        heard = []
        for _ in told:
            heard.append((await anext(events)).data["word"])
            assert len(events._events) <= 2 * feeds.BATCH  # type: ignore[attr-defined]
    assert heard == told


async def test_a_cursor_that_cannot_be_served_is_stale_with_the_head(probe: Probe) -> None:
    ctx = context(probe)
    await say(ctx, "a")
    head = f"{probe.kernel.feed.epoch}:{probe.kernel.feed.head}"
    with pytest.raises(Stale) as stale:
        ctx.subscribe(cursor="another:1")
    assert stale.value.data == {"reason": "other_epoch", "head": head}
    with pytest.raises(Invalid):
        ctx.subscribe(cursor="nonsense")


async def test_a_log_that_was_trimmed_meanwhile_is_stale_and_one_goes_on_from_the_head(probe: Probe) -> None:
    ctx = context(probe)
    events = ctx.subscribe()
    for start in range(0, 2 * feeds.RING, 64):
        await say(ctx, *(str(number) for number in range(start, start + 64)))
    probe.kernel.feed._ring.clear()  # pyright: ignore[reportPrivateUsage]

    def trim(tx: Transaction) -> None:
        assert isinstance(tx, WriteScope)
        tx.connection.execute("DELETE FROM event WHERE seq <= 2000")
        tx.connection.execute("INSERT OR REPLACE INTO store_meta (name, value) VALUES ('event_low', '2000')")

    await ctx.transact(trim)
    with pytest.raises(Stale) as stale:
        async for _ in events:
            pass
    assert len(probe.kernel.feed) == 0
    with ctx.subscribe(cursor=stale.value.data["head"]) as again:
        await say(ctx, "after")
        assert (await anext(again)).data == {"word": "after"}


async def test_events_that_the_caller_may_not_hear_are_left_out(probe: Probe) -> None:
    probe.kernel.dispatcher.gate = Admission(probe.kernel)
    agent = Principal("agent:a", domains=frozenset({"other"}), owner=False)
    with context(probe, agent).subscribe() as events, context(probe).subscribe() as all_events:
        await say(context(probe), "a")

        def speak(tx: Transaction) -> None:
            assert isinstance(tx, WriteScope)
            tx.events.append(("other.word.b", "other.word/b", "{}"))

        await context(probe).transact(speak)
        assert (await anext(events)).type == "other.word.b"
        assert (await anext(all_events)).type == "probe.word.a"
