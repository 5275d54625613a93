"""What a plugin does at import is its own affair: the daemon answers, and the next one has its turn."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from coder_local._daemon import loading
from coder_local._daemon.core import core_domains, grants, taking
from coder_local._daemon.core.grants import keep_grant, read_grants
from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Source, Status, content_hash

_PLUGIN = "from coder_local.api import Domain\ndomain = Domain('{name}')\n"


def _enabled(kernel: Kernel, folder: Path, name: str, body: str) -> None:
    folder = folder / "plugins" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(body)
    plugin = Plugin(name, Source.FOLDER, str(folder))
    kernel.store.write(lambda scope: keep_grant(scope, plugin, content_hash(plugin), enabled=True))


async def test_a_plugin_whose_import_does_not_end_is_stopped_and_the_next_one_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "IMPORT_DEADLINE", 2)
    kernel = Kernel(tmp_path)
    for domain in core_domains(kernel):
        kernel.take(domain)
    kernel.open_store(read_grants)
    _enabled(kernel, tmp_path, "endless", "import threading\nthreading.Event().wait(60)\n")
    _enabled(kernel, tmp_path, "good", _PLUGIN.format(name="good"))
    kernel.start(asyncio.get_running_loop().call_soon_threadsafe)
    await loading.load(kernel, read_grants(kernel))
    plugins = kernel.registry.plugins
    assert plugins["endless"].status is Status.STOPPED_BY_IMPORT_ERROR
    assert plugins["endless"].reason == "its import took longer than 2 s"
    assert plugins["good"].loaded
    assert plugins["planning"].loaded
    assert await asyncio.to_thread(kernel.store.close)


async def test_the_files_of_plugins_are_read_while_the_loop_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(tmp_path)
    for domain in core_domains(kernel):
        kernel.take(domain)
    kernel.open_store(read_grants)
    _enabled(kernel, tmp_path, "good", _PLUGIN.format(name="good"))
    loop, turned = asyncio.get_running_loop(), threading.Event()
    kernel.start(loop.call_soon_threadsafe)

    def read(plugin: Plugin) -> str:
        loop.call_soon_threadsafe(turned.set)
        assert turned.wait(10), "the loop waits for the disk"
        return content_hash(plugin)

    monkeypatch.setattr(grants, "content_hash", read)
    await loading.load(kernel, read_grants(kernel))
    assert turned.is_set()
    assert kernel.registry.plugins["good"].loaded
    assert await asyncio.to_thread(kernel.store.close)
