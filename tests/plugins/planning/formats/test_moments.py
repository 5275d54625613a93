from __future__ import annotations

import pytest

from coder_plugins.planning.formats import moments


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2025-11-02T21:58:07.295958-08:00", "2025-11-03T05:58:07.295Z"),
        ("2025-11-02t21:58:07z", "2025-11-02T21:58:07.000Z"),
        ("2025-11-02 21:58:07.123456789+01:00", "2025-11-02T20:58:07.123Z"),
    ],
)
def test_instants(text: str, instant: str) -> None:
    assert moments.instant(text) == instant


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("2025-11-02T21:58:07", "zone"),
        ("2025-02-30T21:58:07Z", "exist"),
        ("0001-01-01T00:00:00+10:00", "exist"),
        ("yesterday", "RFC 3339"),
        ("\u0662025-11-02T21:58:07Z", "RFC 3339"),
    ],
)
def test_what_is_no_instant_is_refused_with_the_cure(text: str, cure: str) -> None:
    with pytest.raises(ValueError, match=cure):
        moments.instant(text)


@pytest.mark.parametrize(
    ("moment", "instant"),
    [
        ("2026-11-02", "2026-11-02T00:00:00.000Z"),
        ("2026-11-02T09:00:00[Europe/Berlin]", "2026-11-02T08:00:00.000Z"),
        ("2026-07-02T09:00:00[Europe/Berlin]", "2026-07-02T07:00:00.000Z"),
        ("2026-11-02T09:00:00", "2026-11-02T09:00:00.000Z"),
        ("2026-11-02T09:00:00[Mars/North]", None),
        ("0001-01-01T00:00:00[Europe/Berlin]", None),
    ],
)
def test_the_instant_of_a_moment(moment: str, instant: str | None) -> None:
    assert moments.as_instant(moment) == instant
