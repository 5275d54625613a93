"""scripts/sizes.py refuses what is too long, and an allowance that nobody needs."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "sizes.py"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for folder in ("coder_local", "plugins", "ipc", "scripts"):
        (tmp_path / folder).mkdir()
    (tmp_path / "scripts" / "sizes_allowed.txt").write_text("# none\n")
    return tmp_path


def measure(checkout: Path) -> tuple[int, list[str]]:
    """Run the script and return its exit code and its errors."""
    command = [sys.executable, str(SCRIPT), "--root", str(checkout)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.stderr == ""
    return answer.returncode, [line for line in answer.stdout.splitlines() if line.startswith("error: ")]


def function_of(lines: int) -> str:
    """Return the text of a method that is so many lines long."""
    return "class A:\n    @decorated\n    def f(self):\n" + "        pass\n" * (lines - 1)


def test_what_is_at_the_limit_passes(checkout: Path) -> None:
    (checkout / "coder_local" / "a.py").write_text(function_of(60) + "\n" * 437)
    assert measure(checkout) == (0, [])


def test_a_long_function_is_refused(checkout: Path) -> None:
    (checkout / "coder_local" / "a.py").write_text(function_of(61))
    assert measure(checkout) == (1, ["error: coder_local/a.py::A.f: 61 lines, the limit is 60: split it"])


@pytest.mark.parametrize("name", ["plugins/a.py", "ipc/a.ts"])
def test_a_long_file_is_refused(checkout: Path, name: str) -> None:
    (checkout / name).write_text("\n" * 501)
    assert measure(checkout) == (1, [f"error: {name}: 501 lines, the limit is 500: split it"])


def test_generated_and_installed_files_are_not_measured(checkout: Path) -> None:
    for folder in ("ipc/src/generated", "ipc/node_modules/x"):
        (checkout / folder).mkdir(parents=True)
        (checkout / folder / "a.ts").write_text("\n" * 5000)
    assert measure(checkout) == (0, [])


def test_an_allowance_needs_a_reason(checkout: Path) -> None:
    (checkout / "coder_local" / "a.py").write_text(function_of(61))
    allowed = checkout / "scripts" / "sizes_allowed.txt"
    allowed.write_text("coder_local/a.py::A.f # one table, read from top to bottom\n")
    assert measure(checkout) == (0, [])
    allowed.write_text("coder_local/a.py::A.f\n")
    code, errors = measure(checkout)
    assert code == 1
    assert "give the reason" in errors[0]


def test_an_allowance_that_is_not_needed_is_refused(checkout: Path) -> None:
    (checkout / "coder_local" / "a.py").write_text(function_of(60))
    (checkout / "scripts" / "sizes_allowed.txt").write_text("coder_local/a.py::A.f # long ago\n")
    assert measure(checkout) == (
        1,
        ["error: sizes_allowed.txt: coder_local/a.py::A.f is within its limit: remove the line"],
    )
