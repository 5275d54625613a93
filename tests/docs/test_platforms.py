"""docs/platforms.md says what was seen to work, and by which test; what it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "platforms.md").read_text("utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")][
    1:
]


def test_every_matter_names_its_tests_or_a_dash() -> None:
    assert len(ROWS) >= 14
    for matter, _, verified, *_ in ROWS:
        named = re.findall(r"`(tests/[^`]+)`", verified)
        assert named or verified.startswith("-"), matter
        for name in named:
            assert (ROOT / name).exists(), f"{matter}: {name} is not there"


def test_nothing_is_called_verified_where_nobody_has_run_it() -> None:
    heading = next(line for line in PAGE.splitlines() if line.startswith("| matter"))
    assert heading.count("unverified") == 2
    for _, _, _, macos, windows in ROWS:
        assert "tests/" not in macos + windows
