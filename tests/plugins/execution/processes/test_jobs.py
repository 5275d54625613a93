"""Job objects of Windows: what is pure of them, and on Windows all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coder_plugins.execution.processes.shim import jobs


@given(st.text(max_size=20))
def test_the_name_of_a_job_has_no_namespace_but_its_own(mark):
    assert jobs.name_of(mark).split("\\")[0] == "Local"
    assert jobs.name_of(mark).count("\\") == 1
