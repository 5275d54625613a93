"""A process that hangs when nobody waits for it any more ends itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from coder_local._daemon.main import EXIT_BROKEN

pytestmark = pytest.mark.alone

_HANGS = """
import _imp, threading
from coder_local._daemon import watch

begun = threading.Event()
def hold():
    _imp.acquire_lock()  # whoever imports from now on hangs
    begun.set()
    threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
begun.wait()
watch.Guard("it did not come", 1)
import this_is_never_loaded
"""
_COMES = """
import time
from coder_local._daemon import watch

guard = watch.Guard("it did not come", 1)
guard.came()
time.sleep(1.5)
"""


def test_one_that_hangs_in_an_import_ends_and_says_where_it_stands() -> None:
    ended = subprocess.run([sys.executable, "-c", _HANGS], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == EXIT_BROKEN
    assert "coder-local: it did not come for 1 s; the process ends now" in ended.stderr
    assert "_get_module_lock" in ended.stderr


def test_one_in_which_it_came_goes_on() -> None:
    ended = subprocess.run([sys.executable, "-c", _COMES], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
