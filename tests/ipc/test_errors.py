import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_ipc.errors import EXIT_CODES, CallTimeout, ConnectionLost, NotRunning, RemoteError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["code", "message", "data", "kind", "field", "hint", "faults"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


def test_exit_codes_are_those_of_the_documented_table():
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
    rows = re.findall(r"\| `(\w+)` \| \d{3}[^|]*\| (\d+) ", page)
    assert {kind: int(code) for kind, code in rows} == EXIT_CODES


def test_all_that_the_daemon_said_is_kept():
    error = RemoteError.from_wire(
        {
            "code": -32602,
            "message": "Invalid params",
            "data": {
                "kind": "invalid",
                "message": "title is empty",
                "field": "/title",
                "hint": "name it",
                "data": {"faults": [{"field": "/title", "message": "is empty"}]},
            },
        }
    )
    assert (error.kind, error.message, error.field, error.hint) == ("invalid", "title is empty", "/title", "name it")
    assert (error.code, error.exit_code, str(error)) == (-32602, 2, "title is empty")
    assert error.faults == [{"field": "/title", "message": "is empty"}]


@given(json_values)
def test_an_error_of_any_shape_becomes_an_error_with_a_kind_and_a_message(value):
    error = RemoteError.from_wire(value)
    assert error.kind
    assert error.message
    assert isinstance(error.faults, list)
    assert 0 < error.exit_code < 126


@pytest.mark.parametrize(("code", "kind"), [(-32700, "invalid"), (-32601, "not_found"), (-32603, "broken")])
def test_an_error_without_a_kind_is_named_by_its_standard_code(code, kind):
    assert RemoteError.from_wire({"code": code, "message": "m"}).kind == kind


def test_a_kind_of_a_later_version_is_kept_by_name():
    error = RemoteError("quarantined", "m")
    assert (error.kind, error.exit_code) == ("quarantined", 70)


def test_failures_on_this_side_have_exit_codes_too():
    assert (NotRunning("m").exit_code, CallTimeout("m").exit_code, ConnectionLost("m").exit_code) == (3, 11, 70)
