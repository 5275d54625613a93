"""Hooks: what plugins offer is joined in the order of loading; one that fails is left out and named in the log."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, LiteralString

import pytest

from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Status
from coder_local.api import Context, DeclarationError, Domain, Safety
from coder_local.testing.daemon import environment


def offering(name: LiteralString, *widgets: str) -> Domain:
    domain = Domain(name)

    @domain.hook
    def widgets_(*_: object) -> list[str]:
        return list(widgets)

    domain.hooks["widgets"] = domain.hooks.pop("widgets_")
    return domain


def failing(name: LiteralString, answer: Any) -> Domain:
    domain = Domain(name)

    @domain.hook
    def widgets() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return domain


def test_answers_are_joined_in_the_order_of_loading() -> None:
    kernel = Kernel()
    for domain in (offering("second", "b", "c"), offering("first", "a"), offering("empty")):
        kernel.take(domain)
    assert list(kernel.offered("widgets")) == ["b", "c", "a"]


def test_a_hook_that_nobody_implements_has_no_answers() -> None:
    assert list(Kernel().offered("embedders")) == []


def generated() -> Iterator[str]:
    yield "half"
    raise RuntimeError("in the middle")


@pytest.mark.parametrize(
    "answer", [RuntimeError("broken"), None, 7, generated()], ids=["raises", "none", "int", "half"]
)
def test_a_plugin_whose_hook_fails_is_left_out_and_logged(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    kernel = Kernel()
    for domain in (offering("good", "a"), failing("bad", answer), offering("better", "b")):
        kernel.take(domain)
    with caplog.at_level(logging.ERROR, "coder_local.plugins"):
        assert list(kernel.offered("widgets")) == ["a", "b"]
    (record,) = caplog.records
    assert record.getMessage() == "hook widgets of plugin bad failed"
    assert record.exc_info is not None


def test_a_plugin_takes_the_arguments_that_it_needs() -> None:
    kernel, seen = Kernel(), list[Any]()
    whole, short, defaulted = Domain("whole"), Domain("short"), Domain("defaulted")

    def notify(title: str, text: str) -> list[Any]:
        seen.append((title, text))
        return ["whole"]

    whole.hook(notify)

    def notify(title: str) -> list[Any]:  # type: ignore[no-redef]
        seen.append(title)
        return ["short"]

    short.hook(notify)

    def notify(title: str = "", *, text: str = "") -> list[Any]:  # type: ignore[no-redef]
        seen.append((title, text))
        return ["defaulted"]

    defaulted.hook(notify)
    for domain in (whole, short, defaulted):
        assert kernel.take(domain).loaded
    assert list(kernel.offered("notify", title="T", text="x")) == ["whole", "short", "defaulted"]
    assert seen == [("T", "x"), "T", ("T", "x")]


def test_hooks_come_and_go_with_their_plugin() -> None:
    kernel = Kernel()
    kernel.take(offering("stays", "a"))
    goes = kernel.take(offering("goes", "b"))
    assert list(kernel.offered("widgets")) == ["a", "b"]
    kernel.registry.stop(goes, Status.DISABLED, "by the person")
    kernel.forget_hooks()
    assert list(kernel.offered("widgets")) == ["a"]


def test_a_hook_that_there_is_not_is_named_to_the_plugin_that_calls_it() -> None:
    with pytest.raises(DeclarationError, match="there is no hook 'widgetz'; there are ai_providers"):
        Kernel().offered("widgetz")


async def test_a_plugin_calls_a_hook_without_naming_who_answers() -> None:
    from coder_local.testing import sandbox

    asking = Domain("asking")

    @asking.action("asking.collect", safety=Safety.READ)
    async def collect(ctx: Context) -> list[str]:
        """Collect what the others offer."""
        return list(ctx.offered("widgets"))

    with sandbox(asking, offering("offers", "a")) as box:
        assert await box.acall("asking.collect") == ["a"]


START = """
import sys
import coder_local._daemon.daemon
from coder_local._daemon.core import core_domains, granted_plugins
from coder_local._registry import plugins
from coder_local._registry.kernel import Kernel
from pathlib import Path

kernel = Kernel(Path(sys.argv[1]))
for domain in core_domains(kernel):
    kernel.take(domain)
kernel.load(plugins.bundled())
kernel.open(granted_plugins)
assert all(plugin.loaded for plugin in kernel.registry.plugins.values())
print("pluggy" in sys.modules)
kernel.offered("widgets")
print("pluggy" in sys.modules)
kernel.store.close()
"""


def test_the_start_does_not_import_pluggy_and_the_first_hook_does(tmp_path: Any) -> None:
    """Opened twice: the first time the tables are made, by sqlite-utils, which imports pluggy."""
    for warm in (False, True):
        ran = subprocess.run(
            [sys.executable, "-c", START, str(tmp_path)],
            env=environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        if warm:
            assert ran.stdout.split() == ["False", "True"]
