"""`scaffold`: a new plugin works at once; a look over a plugin names what is wrong."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coder_local._daemon.core import core_domains
from coder_local._registry.kernel import Kernel
from coder_local.cli.app import SUMMARIES
from coder_local.testing.daemon import environment, running
from coder_local.testing.scaffold import check, create, refuse_name


def run(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    env = environment({"PYTHONDONTWRITEBYTECODE": "1"})
    return subprocess.run(
        [sys.executable, "-m", *argv], cwd=folder, env=env, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.alone
@pytest.mark.parametrize("name", ["recipes", "records", "shopping_lists"])
def test_a_new_plugin_passes_its_own_test_at_once(tmp_path: Path, name: str) -> None:
    written = create(name, tmp_path)
    project = tmp_path / name
    assert sorted(path for path in project.rglob("*") if path.is_file()) == written
    assert [str(path.relative_to(project).as_posix()) for path in written] == sorted(
        [
            "README.md",
            f"{name}/__init__.py",
            f"{name}/migrations/0001_{name}.sql",
            f"{name}/operations.py",
            f"{name}/plugin.toml",
            f"{name}/py.typed",
            f"{name}/records.py",
            "pyproject.toml",
            f"tests/test_{name}.py",
        ]
    )
    ran = run(project, "pytest", "-q")
    assert "11 passed" in ran.stdout, ran.stdout + ran.stderr
    assert check(project) == check(project / name) == []


@pytest.mark.alone
def test_a_new_plugin_is_clean_to_the_type_checker(tmp_path: Path) -> None:
    create("recipes", tmp_path)
    ran = run(tmp_path / "recipes", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "recipes")
    assert ran.returncode == 0, ran.stdout


@pytest.mark.alone
def test_a_new_plugin_runs_in_the_daemon_once_it_is_enabled(tmp_path: Path) -> None:
    def put(data_dir: Path) -> None:
        create("recipes", tmp_path)
        (data_dir / "plugins").mkdir()
        (tmp_path / "recipes" / "recipes").rename(data_dir / "plugins" / "recipes")

    data_dir = tmp_path / "data"
    data_dir.mkdir()
    with running(data_dir, prepare=[put]) as daemon:
        assert "recipes.create" not in str(daemon.call("operations.list"))
        ran = run(
            tmp_path, "coder_local", "--data-dir", str(data_dir), "plugins", "enable", "recipes", "--yes", "--json"
        )
        assert '"status":"loaded"' in ran.stdout, ran.stdout + ran.stderr
        made = daemon.call("recipes.create", title="Soup")
        assert daemon.call("recipes.finish", id=made["id"])["done"]
        assert daemon.call("recipes.open") == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "2 to 31"),
        ("x", "2 to 31"),
        ("x" * 32, "2 to 31"),
        ("MyNotes", "'my_notes' would do"),
        ("my-notes", "'my_notes' would do"),
        ("9lives", "'lives' would do"),
        ("notes/../x", "'notes_x' would do"),
        ("class", "word of the Python language"),
        ("calendar", "module of Python itself"),
        ("services", "name of coder-local itself"),
        ("tests", "name of coder-local itself"),
        ("coder_local", "name of coder-local itself"),
        ("msgspec", "is installed here"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_the_reason(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        create(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_name_of_the_core_and_no_built_in_command_can_be_taken() -> None:
    for name in {*SUMMARIES, *(domain.name for domain in core_domains(Kernel()))}:
        with pytest.raises(ValueError, match="take another" if name.isidentifier() else "must be"):
            refuse_name(name)


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    assert create("recipes", tmp_path)  # an empty folder is no loss
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match="recipes already"):
        create("recipes", tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "soups").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError):
        create("soups", tmp_path)
    assert (tmp_path / "soups").read_text("utf-8") == "mine"


def test_two_new_plugins_do_not_meet(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    create("recipes", first)
    create("recipes", second)
    records = second / "recipes" / "recipes" / "records.py"
    records.write_text(
        records.read_text("utf-8").replace("    note:", "    stars: int = 0\n    note:"), encoding="utf-8"
    )
    assert check(first / "recipes") == []
    (fault,) = check(second / "recipes")
    assert "ALTER TABLE recipes ADD COLUMN stars" in fault


def test_a_look_over_names_what_is_wrong(tmp_path: Path) -> None:
    assert "holds no plugin" in check(tmp_path)[0]
    assert "holds no plugin" in check(tmp_path / "nowhere")[0]
    create("recipes", tmp_path)
    project = tmp_path / "recipes"
    settings = project / "pyproject.toml"
    settings.write_text(
        settings.read_text("utf-8").replace('recipes = "recipes"', 'recipes = "soup"'), encoding="utf-8"
    )
    assert '[project.entry-points."coder_local.plugins"]\nrecipes = "recipes"' in check(project)[0]
    settings.write_text("[project", encoding="utf-8")
    assert "pyproject.toml cannot be read" in check(project)[0]
    settings.unlink()
    assert check(project) == []
    (project / "recipes" / "operations.py").write_text("1 / 0", encoding="utf-8")
    assert "ZeroDivisionError" in check(project)[0]
    odd = project / "my-recipes"
    (project / "recipes").rename(odd)
    assert "name the folder as the domain" in check(odd)[0]


@pytest.mark.alone
def test_a_record_that_changed_without_a_migration_stops_its_plugin_with_the_sql(tmp_path: Path) -> None:
    create("recipes", tmp_path)
    package = tmp_path / "recipes" / "recipes"
    data_dir = tmp_path / "data"
    target = data_dir / "plugins" / "recipes"
    shutil.copytree(package, target)

    def enable() -> str:
        done = run(tmp_path, "coder_local", "--data-dir", str(data_dir), "plugins", "enable", "recipes", "-y")
        assert done.stdout, done.stderr
        return done.stdout

    with running(data_dir):
        assert '"status":"loaded"' in enable()
    records = target / "records.py"
    records.write_text(
        records.read_text("utf-8").replace("    note:", "    stars: int = 0\n    note:"), encoding="utf-8"
    )
    with running(data_dir):
        answer = enable()
        assert '"status":"stopped_by_migration"' in answer, answer
        assert "ALTER TABLE recipes ADD COLUMN stars INTEGER NOT NULL DEFAULT 0" in answer
    shutil.rmtree(target)
    shutil.copytree(package, target)
    with running(data_dir) as daemon:
        assert '"status":"loaded"' in enable()
        assert daemon.call("recipes.open") == 0
