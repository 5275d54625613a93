"""Settings come from four places, each value is checked, and a change needs no restart."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from coder_local._daemon.core.settings import GUARDED
from coder_local._registry import settings as manager_module
from coder_local._registry.settings import DaemonSettings
from coder_local.api import Domain, Settings, Snapshot, Transaction

from .conftest import Core, running


class Lamp(Settings):
    """Settings of a plugin of this test."""

    colour: Literal["red", "green"] = "red"
    """What it shines in."""
    watts: Annotated[int, Meta(ge=1, le=100)] = 40
    rooms: list[str] = msgspec.field(default_factory=list[str])
    low: int = 1
    high: int = 9

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


def lamp() -> Domain:
    domain = Domain("lamp")
    domain.settings(Lamp)

    @domain.query("lamp.look")
    def look(read: Snapshot) -> Lamp:
        """Return the settings as a query sees them."""
        return read.settings(Lamp)

    @domain.command("lamp.touch")
    def touch(tx: Transaction) -> int:
        """Return the watts as a command sees them."""
        return tx.settings(Lamp).watts

    return domain


@pytest.fixture(autouse=True)
def look_at_the_file_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_module, "LOOK_EVERY", 0.0)


@pytest.fixture
async def core(data_dir: Path) -> AsyncIterator[Core]:
    async with running(data_dir) as made:
        assert made.kernel.take(lamp()).loaded
        yield made


def write(data_dir: Path, text: str) -> None:
    """Write the file in one step, so that it is never read half, and always with another time."""
    path = data_dir / "settings.toml"
    before = path.stat().st_mtime_ns if path.exists() else 0
    part = data_dir / "part"
    part.write_text(text)
    os.utime(part, ns=(before + 10**9, before + 10**9))
    part.replace(path)


async def explained(core: Core, name: str) -> tuple[Any, str]:
    found = await core.call("settings.explain", plugin="lamp", name=name)
    assert sum(each["used"] for each in found["sources"]) == 1
    return found["value"], found["place"]


async def test_the_environment_comes_before_what_is_set_before_the_file_before_the_default(
    core: Core, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await explained(core, "watts") == (40, "default")
    write(data_dir, "[lamp]\nwatts = 10\n")
    assert await explained(core, "watts") == (10, "file")
    await core.call("settings.set", plugin="lamp", name="watts", value=20)
    assert await explained(core, "watts") == (20, "stored")
    monkeypatch.setenv("CODER_LOCAL_LAMP_WATTS", "30")
    assert await explained(core, "watts") == (30, "environment")
    found = await core.call("settings.explain", plugin="lamp", name="watts")
    assert [(each["place"], each["value"]) for each in found["sources"]] == [
        ("environment", 30),
        ("stored", 20),
        ("file", 10),
        ("default", 40),
    ]
    assert found["variable"] == "CODER_LOCAL_LAMP_WATTS"


async def test_explain_tells_what_a_setting_means(core: Core) -> None:
    found = await core.call("settings.explain", plugin="lamp", name="colour")
    assert (found["description"], found["default"]) == ("What it shines in.", "red")


async def test_a_change_is_seen_by_queries_and_commands_at_once_and_after_a_restart(data_dir: Path) -> None:
    async with running(data_dir) as core:
        core.kernel.take(lamp())
        changed = await core.call("settings.set", plugin="lamp", name="watts", value=60)
        assert (changed["previous"], changed["setting"]["value"]) == (40, 60)
        assert (await core.call("lamp.look"))["watts"] == 60
        assert await core.call("lamp.touch") == 60
    async with running(data_dir) as core:
        core.kernel.take(lamp())
        assert await core.call("lamp.touch") == 60


async def test_reset_takes_back_what_was_set(core: Core) -> None:
    await core.call("settings.set", plugin="lamp", name="rooms", value=["hall"])
    taken = await core.call("settings.reset", plugin="lamp", name="rooms")
    assert (taken["previous"], taken["setting"]["value"], taken["setting"]["place"]) == (["hall"], [], "default")


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("watts", 1000, "/value"),
        ("watts", "bright", "/value"),
        ("watts", None, "/value"),
        ("colour", "blue", "/value"),
        ("rooms", ["hall", 3], "/value/1"),
        ("rooms", ["a\0b"], "/value/0"),
        ("high", 0, "/value"),
    ],
)
async def test_a_bad_value_is_refused_and_the_old_one_stays(core: Core, name: str, value: Any, field: str) -> None:
    before = await core.call("lamp.look")
    error = await core.refused("settings.set", plugin="lamp", name=name, value=value)
    assert (error.kind, error.field) == ("invalid", field)
    assert await core.call("lamp.look") == before
    assert (await core.call("events.list", types=["settings.*"]))["items"] == []


async def test_unknown_names_are_not_found_with_the_nearest(core: Core) -> None:
    error = await core.refused("settings.set", plugin="lamp", name="wats", value=1)
    assert (error.kind, error.field, error.hint) == ("not_found", "/name", "did you mean watts?")
    error = await core.refused("settings.get", plugin="lmap")
    assert (error.field, error.hint) == ("/plugin", "did you mean lamp?")
    assert (await core.refused("settings.reset", plugin="lamp", name="x")).kind == "not_found"


async def test_what_the_environment_rules_cannot_be_set(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODER_LOCAL_LAMP_WATTS", "30")
    error = await core.refused("settings.set", plugin="lamp", name="watts", value=20)
    assert error.kind == "conflict"
    assert "CODER_LOCAL_LAMP_WATTS" in str(error.hint)


@pytest.mark.parametrize(
    ("text", "rooms"),
    [("hall, kitchen", ["hall", "kitchen"]), ('["hall"]', ["hall"]), ("", []), ("hall", ["hall"]), ("7", [])],
)
async def test_lists_in_the_environment_are_json_or_have_commas(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, text: str, rooms: list[str]
) -> None:
    monkeypatch.setenv("CODER_LOCAL_LAMP_ROOMS", text)
    async with running(data_dir) as core:
        core.kernel.take(lamp())
        assert (await core.call("lamp.look"))["rooms"] == rooms


async def test_a_bad_variable_is_left_out_and_named(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CODER_LOCAL_LAMP_WATTS", "many")
    async with running(data_dir) as core:
        core.kernel.take(lamp())
        assert (await core.call("lamp.look"))["watts"] == 40
        found = await core.call("settings.explain", plugin="lamp", name="watts")
        assert (found["value"], found["place"]) == (40, "default")
        assert "whole number" in found["sources"][0]["fault"]
        await core.call("settings.set", plugin="lamp", name="low", value=2)
    warnings = [line for line in caplog.messages if "CODER_LOCAL_LAMP_WATTS" in line]
    assert len(warnings) == 1  # once, though the settings were made twice


async def test_a_change_of_the_file_is_seen_and_said_without_a_restart(core: Core, data_dir: Path) -> None:
    write(data_dir, "[lamp]\nwatts = 10\n")
    assert await core.call("lamp.touch") == 10
    write(data_dir, '[lamp]\nwatts = 11\ncolour = "green"\n')
    assert await core.call("lamp.touch") == 11
    async with asyncio.timeout(10):  # it is said by a command of its own, after the call that noticed it
        while not (said := (await core.call("events.list", types=["settings.*"]))["items"]):
            await asyncio.sleep(0.01)
    assert said[-1]["data"] == {"plugin": "lamp", "names": ["colour", "watts"]}
    assert said[-1]["actor"] == "daemon"
    (data_dir / "settings.toml").unlink()
    assert (await core.call("lamp.look"))["watts"] == 40


async def test_a_bad_value_in_the_file_leaves_the_old_one(core: Core, data_dir: Path) -> None:
    write(data_dir, "[lamp]\nwatts = 10\nrooms = ['hall']\n")
    assert (await core.call("lamp.look"))["watts"] == 10
    write(data_dir, "[lamp]\nwatts = 1000\nrooms = ['attic']\n")
    assert (await core.call("lamp.look")) == {**msgspec.to_builtins(Lamp()), "watts": 10, "rooms": ["attic"]}
    found = await core.call("settings.explain", plugin="lamp", name="watts")
    assert (found["value"], found["place"]) == (10, "file")
    assert [each["value"] for each in found["sources"] if each["fault"]] == [1000]
    write(data_dir, "[lamp]\n")
    assert (await core.call("lamp.look"))["watts"] == 40


async def test_a_file_that_is_no_toml_leaves_everything_as_it_was(core: Core, data_dir: Path) -> None:
    write(data_dir, "[lamp]\nwatts = 10\n")
    assert await core.call("lamp.touch") == 10
    write(data_dir, "[lamp\nwatts = ")
    assert await core.call("lamp.touch") == 10
    findings = (await core.call("daemon.doctor"))["items"]
    assert any(each["state"] == "warning" and "settings.toml" in each["message"] for each in findings)
    write(data_dir, "[lamp]\nwatts = 12\nwats = 13\n")
    assert await core.call("lamp.touch") == 12
    messages = [each["message"] for each in (await core.call("daemon.doctor"))["items"] if each["check"] == "settings"]
    assert messages == ["settings.toml [lamp] wats: no such setting; did you mean watts?"]


async def test_values_that_do_not_go_together_are_not_taken(core: Core, data_dir: Path) -> None:
    write(data_dir, "[lamp]\nlow = 3\nhigh = 5\n")
    assert (await core.call("lamp.look"))["low"] == 3
    write(data_dir, "[lamp]\nlow = 8\nhigh = 5\n")
    found = await core.call("lamp.look")
    assert (found["low"], found["high"]) == (3, 5)


async def test_a_change_is_said_without_its_value(core: Core) -> None:
    await core.call("settings.set", plugin="lamp", name="rooms", value=["the secret room"])
    events = (await core.call("events.list", types=["settings.*"]))["items"]
    assert [each["data"] for each in events] == [{"plugin": "lamp", "names": ["rooms"]}]
    assert "secret" not in str(events)


async def test_an_agent_changes_settings_of_a_plugin_but_not_who_may_come_in(core: Core) -> None:
    agent = core.as_agent()
    await agent.call("settings.set", plugin="lamp", name="watts", value=5)
    error = await agent.refused("settings.set", plugin=GUARDED, name="origins", value=["http://evil.example"])
    assert (error.kind, error.data["rule"]) == ("refused", "person_only")
    assert (await agent.refused("settings.reset", plugin=GUARDED, name="origins")).kind == "refused"
    assert core.kernel.settings.current(DaemonSettings).origins == []


@pytest.mark.parametrize("origin", ["*", "null", "http://a/b", "http://", "https://*.example", "http://u@h", "a b://c"])
async def test_an_origin_is_one_exact_address(core: Core, origin: str) -> None:
    error = await core.refused("settings.set", plugin="daemon", name="origins", value=["http://localhost:5173", origin])
    assert error.field == "/value/1"


async def test_a_plugin_without_settings_is_not_asked_for_them(core: Core) -> None:
    listed = (await core.call("settings.get"))["items"]
    assert [each["plugin"] for each in listed] == ["daemon", "lamp"]
    assert listed[0]["values"] == {
        "origins": [],
        "http_connections": 1024,
        "linger": None,
        "log_level": "info",
        "keep_daily": 7,
        "keep_weekly": 4,
        "quarantine_faults": 20,
        "quarantine_blocks": 5,
        "quarantine_window": 300.0,
        "import_budget_ms": 500.0,
        "memory_budget_mb": 200.0,
        "start_watch": 10.0,
    }
    assert core.kernel.settings.current(Settings) == Settings()
