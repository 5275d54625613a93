"""Run the daemon with the measuring domain beside the bundled plugins: `launch.py FOLDER [--http]`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from coder_local._daemon.main import ServeOptions, serve
from coder_local._registry import plugins

_bundled = plugins.bundled


def _with_bench() -> Iterator[plugins.Plugin]:
    yield from _bundled()
    yield plugins.Plugin("bench", plugins.Source.BUNDLED, "bench_domain")


if __name__ == "__main__":
    plugins.bundled = _with_bench
    http_port = 0 if "--http" in sys.argv else None
    sys.exit(serve(ServeOptions(Path(sys.argv[1]), http_port=http_port, log_level="WARNING")))
