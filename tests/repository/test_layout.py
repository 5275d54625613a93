"""The folders say what the architecture says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PLUGINS = ROOT / "plugins" / "coder_plugins"
MODULES = {"records", "operations", "rules", "adapters", "jobs", "formats"}
# These may grow into packages, whose inside is their own business.
FREE_PACKAGES = {"rules", "adapters", "jobs", "formats", "cli"}
# A domain whose heart is a machine of its own has the parts of that machine under the names that the field gives them.
OWN_PACKAGES = {"execution": {"engine", "kinds", "machine", "processes"}}


def plugin_folders(plugins: Path = PLUGINS) -> list[Path]:
    """Return the folders of the bundled plugins, in order of name."""
    return sorted(path for path in plugins.iterdir() if path.is_dir() and not path.name.startswith(("_", ".")))


def faults_of_shape(folder: Path, *, is_domain: bool) -> Iterator[str]:
    """Yield what is missing from a plugin's folder or too much in it; a sub-package repeats the shape."""
    names = {path.name for path in folder.iterdir()} - {"__pycache__", "py.typed"}
    needed = {"__init__.py", "records.py", "operations.py", "migrations"} if is_domain else {"__init__.py"}
    for name in sorted(needed - names):
        yield f"{folder.name}: {name} is missing"
    if not is_domain and not names & {"records.py", "operations.py"}:
        yield f"{folder.name}: a sub-package has records.py or operations.py"
    for path in sorted(folder / name for name in names):
        if path.is_dir():
            if path.name not in {*FREE_PACKAGES, "migrations", *OWN_PACKAGES.get(folder.name, ())}:
                yield from (f"{folder.name}/{fault}" for fault in faults_of_shape(path, is_domain=False))
        elif path.name not in {"__init__.py", *(f"{module}.py" for module in MODULES)}:
            yield f"{folder.name}: {path.name} is none of the names that a plugin's files have"


def test_there_are_bundled_plugins() -> None:
    assert plugin_folders()


@pytest.mark.parametrize("folder", plugin_folders(), ids=lambda folder: folder.name)
def test_a_plugin_has_the_files_that_every_plugin_has(folder: Path) -> None:
    assert list(faults_of_shape(folder, is_domain=True)) == []


def test_a_plugin_of_another_shape_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "odd" / "tasks").mkdir(parents=True)
    for name in ("__init__.py", "records.py", "helpers.py", "tasks/__init__.py", "tasks/utils.py"):
        (tmp_path / "odd" / name).touch()
    assert list(faults_of_shape(tmp_path / "odd", is_domain=True)) == [
        "odd: migrations is missing",
        "odd: operations.py is missing",
        "odd: helpers.py is none of the names that a plugin's files have",
        "odd/tasks: a sub-package has records.py or operations.py",
        "odd/tasks: utils.py is none of the names that a plugin's files have",
    ]


@pytest.mark.parametrize("name", [folder.name for folder in plugin_folders()])
def test_the_core_never_names_a_plugin(name: str) -> None:
    word = re.compile(rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z])", re.IGNORECASE)
    named = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted((ROOT / "coder_local").rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if word.search(line)
    ]
    assert named == []


def test_source_roots_are_no_packages() -> None:
    # An __init__.py here would install packages called `plugins` and `ipc` into everybody's site-packages.
    assert [root for root in ("plugins", "ipc", "schema") if (ROOT / root / "__init__.py").exists()] == []


def test_every_package_is_typed() -> None:
    packages = ("coder_local", "plugins/coder_plugins", "ipc/coder_ipc")
    assert [package for package in packages if not (ROOT / package / "py.typed").exists()] == []


def test_the_readme_names_the_two_commands_and_they_exist() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    commands = set(re.findall(r"python3 (scripts/\w+\.py)", readme))
    assert {"scripts/run.py", "scripts/test.py"} <= commands
    assert [command for command in sorted(commands) if not (ROOT / command).is_file()] == []


def test_ci_runs_the_one_command_and_nothing_after_it() -> None:
    lines = (ROOT / ".ci" / "run").read_text("utf-8").strip().splitlines()
    assert lines[-1] == "exec python3 scripts/test.py"


def test_every_dependency_is_explained() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    required = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[<>=~!\[; ]", requirement)[0] for requirement in required}
    page = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    explained = set(re.findall(r"^\| `([\w.-]+)` \|", page, re.MULTILINE))
    assert explained == names
