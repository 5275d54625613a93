"""Closing the store on a thread while the loop reads."""

import asyncio

from coder_local._registry.kernel import Kernel
from coder_local._store.caller import Caller


async def test_a_snapshot_of_the_loop_ends_while_another_thread_closes(tmp_path):
    loop = asyncio.get_running_loop()
    for number in range(40):
        folder = tmp_path / str(number)
        folder.mkdir()
        kernel = Kernel(folder)
        kernel.open()
        kernel.start(loop.call_soon_threadsafe, loop.call_soon)
        kernel.store.read(lambda scope: scope.connection.execute("SELECT 1").fetchone(), Caller())
        assert await asyncio.to_thread(kernel.store.close)
