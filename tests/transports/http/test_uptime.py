"""`/health` counts from the start of the process, not from that of HTTP, which begins late."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

from coder_local._admission import Admission
from coder_local._registry.kernel import Kernel
from coder_local._transports.http import HttpServer


def test_uptime_counts_from_the_start_of_the_process() -> None:
    kernel = Kernel()
    kernel.open()
    kernel.host = cast("Any", SimpleNamespace(started_at=time.time() - 100, state="ready"))
    assert 100 <= HttpServer(kernel, Admission(kernel))._own_health()["uptime"] < 160
