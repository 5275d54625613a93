"""scripts/_setup.py makes an environment once, notices one that was cut off, and lets only one process do it.

The checkout installed here is a tiny one whose build backend stands beside it: no package index is asked.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "tiny"
version = "1"
dependencies = []

[dependency-groups]
dev = [{include-group = "none"}]
none = []
"""

BACKEND = '''
import pathlib, zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Make the smallest wheel that pip accepts, and say that it was made."""
    with open("builds", "a") as log:
        log.write("built\\n")
    metadata = {
        "tiny-1.dist-info/METADATA": "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\n",
        "tiny-1.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        "tiny.pth": str(pathlib.Path.cwd()) + "\\n",
    }
    record = "".join(f"{name},,\\n" for name in metadata) + "tiny-1.dist-info/RECORD,,\\n"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, "tiny-1-py3-none-any.whl"), "w") as wheel:
        for name, text in {**metadata, "tiny-1.dist-info/RECORD": record}.items():
            wheel.writestr(name, text)
    return "tiny-1-py3-none-any.whl"
'''


def make(folder: Path) -> Path:
    """Write a checkout."""
    (folder / "scripts").mkdir()
    for name in ("_setup.py", "_running.py"):
        shutil.copy(SCRIPTS / name, folder / "scripts")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "tiny.py").write_text("")
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkout that is set up; whoever harms it sets it up again."""
    found = make(tmp_path_factory.mktemp("finished"))
    set_up(found)
    return found


def start(checkout: Path) -> subprocess.Popen[str]:
    """Start a set-up, with the interpreter that no environment shadows."""
    interpreter = Path(sys.base_prefix) / ("python.exe" if sys.platform == "win32" else "bin/python3")
    return subprocess.Popen(
        [str(interpreter), str(checkout / "scripts" / "_setup.py")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def set_up(checkout: Path) -> str:
    """Run a set-up to its end and return what it said."""
    process = start(checkout)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    return said


def builds(checkout: Path) -> int:
    """Return how often the project was installed."""
    log = checkout / "builds"
    return len(log.read_text().splitlines()) if log.exists() else 0


def can_import(checkout: Path) -> bool:
    """Tell whether the environment holds the project."""
    folder, name = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    command = [str(checkout / ".venv" / folder / name), "-I", "-c", "import tiny"]
    return subprocess.run(command, check=False).returncode == 0


@pytest.mark.alone
def test_an_environment_is_made_once_and_again_when_its_requirements_change(checkout: Path) -> None:
    assert "it does not exist" in set_up(checkout)
    assert can_import(checkout)
    assert builds(checkout) == 1

    python = (checkout / ".venv" / "pyvenv.cfg").stat()
    assert "installing" not in set_up(checkout)

    pyproject = checkout / "pyproject.toml"
    pyproject.write_text(PYPROJECT + "[tool.ruff]\nline-length = 100\n")
    assert "installing" not in set_up(checkout), "what does not concern packages changes no environment"

    pyproject.write_text(PYPROJECT.replace('version = "1"', 'version = "1"\ndescription = "x"'))
    said = set_up(checkout)
    assert "installing" in said
    assert "making" not in said, "the environment that stands is added to, not built anew"
    assert builds(checkout) == 2
    assert (checkout / ".venv" / "pyvenv.cfg").stat().st_mtime_ns == python.st_mtime_ns


@pytest.mark.alone
def test_a_set_up_that_was_killed_is_done_anew(checkout: Path) -> None:
    process = start(checkout)
    assert process.stderr is not None
    assert "making" in process.stderr.readline()
    mark = checkout / ".venv" / "setup-unfinished"
    deadline = time.monotonic() + 30
    while not mark.exists():
        assert time.monotonic() < deadline
    process.kill()
    process.communicate()
    assert not (checkout / ".venv" / "setup-stamp").exists()

    assert "an earlier set-up was interrupted" in set_up(checkout)
    assert can_import(checkout)
    assert not mark.exists()


@pytest.mark.alone
def test_an_environment_whose_interpreter_is_gone_is_built_anew(finished: Path) -> None:
    folder, name = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    (finished / ".venv" / folder / name).unlink()
    assert "it does not exist" in set_up(finished)
    assert can_import(finished)


@pytest.mark.alone
def test_an_environment_that_was_copied_here_is_built_anew(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    shutil.copytree(finished, copy, symlinks=True)
    assert f"it was made at {finished}" in set_up(copy)
    assert str(copy) in (copy / ".venv" / "pyvenv.cfg").read_text()


@pytest.mark.alone
def test_of_two_set_ups_at_once_one_does_the_work(checkout: Path) -> None:
    processes = [start(checkout), start(checkout)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert builds(checkout) == 1
    assert sum("waiting for another set-up" in text for text in said) == 1


@pytest.mark.alone
def test_a_failure_shows_its_end_and_its_cure(checkout: Path) -> None:
    (checkout / "backend.py").write_text("raise RuntimeError('the backend is broken')")
    process = start(checkout)
    said = process.communicate()[1]
    assert process.returncode == 1
    assert "the backend is broken" in said
    assert "pip could not install the packages" in said
    assert "run the same command again" in said
    assert not (checkout / ".venv" / "setup-stamp").exists()


def test_the_environment_of_another_python_is_not_taken_for_current(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(checkout / "scripts"))
    import _setup  # type: ignore[import-not-found]

    here = _setup.python_fingerprint(checkout)
    monkeypatch.setattr(sys, "version_info", (3, 99, 0, "final", 0))
    assert _setup.python_fingerprint(checkout) != here


def test_every_folder_that_npm_locks_is_set_up(
    committed_files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import _setup  # type: ignore[import-not-found]

    locked = {name.removesuffix("/package-lock.json") for name in committed_files if name.endswith("package-lock.json")}
    assert locked == set(_setup.NODE_FOLDERS)
