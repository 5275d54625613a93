import pytest

from tests.ipc.wire_server import ServerThread, WireServer


@pytest.fixture
def server(tmp_path):
    """A server in a thread of its own, for the synchronous client."""
    with ServerThread(tmp_path) as running:
        yield running


@pytest.fixture
async def wire(tmp_path):
    """A server on the test's own event loop."""
    running = WireServer(tmp_path)
    await running.start()
    yield running
    await running.stop()
