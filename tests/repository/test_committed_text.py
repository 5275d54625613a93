"""No committed file depends on the machine it was written on."""

import re
from pathlib import Path

import pytest

# Put together here, so that this file does not itself hold what it looks for.
WORK_FOLDER = "/" + "work" + "/"
ROOT_HOME = "/" + "root" + "/"
# Made-up people of examples.
PLACEHOLDERS = ("you", "me", "user", "ada", "alice", "ann", "bob", "NAME", "<name>")
HOME = re.compile(rf"(?:/home/|/Users/|[A-Za-z]:\\+Users\\+)(?!(?:{'|'.join(PLACEHOLDERS)})\b)[\w.-]+", re.IGNORECASE)
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
        ("deb", "debian", "org"),
    )
)
REGISTRY_URL = re.compile(r"https?://(?:registry|mirror|mirrors|artifactory|nexus)\.[\w.-]+")


def machine_paths(text: str, checkout: Path) -> list[str]:
    """Return the paths of a machine that a text names."""
    places = [WORK_FOLDER, ROOT_HOME]
    # A short path such as /src is no machine's own; a longer one is.
    places += [str(path) + "/" for path in (checkout, Path.home()) if len(path.parts) > 2]
    # In front stands what no path goes on from: `docs/work/` and `https://host/work/` are other things.
    found = [place for place in places if re.search(r"(?<![\w.~-])" + re.escape(place), text)]
    return found + HOME.findall(text)


def registry_hosts(text: str) -> list[str]:
    """Return the package registries that a text names."""
    return [host for host in REGISTRY_HOSTS if host in text] + REGISTRY_URL.findall(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"see {WORK_FOLDER}main", 1),
        (f"cd {ROOT_HOME}x", 1),
        ("/home/" + "carol/src", 1),
        ("C:\\" + "Users\\carol", 1),
        ("/home/you/src, framework/work/x, ~/work/", 0),
    ],
)
def test_a_path_of_a_machine_is_recognised(text: str, found: int) -> None:
    assert len(machine_paths(text, Path("/x"))) == found


@pytest.mark.parametrize("host", REGISTRY_HOSTS)
def test_a_registry_is_recognised(host: str) -> None:
    assert registry_hosts(f'"resolved": "https://a.{host}/x.tgz"')


def test_no_committed_file_names_a_path_of_a_machine(committed_files: dict[str, str], root: Path) -> None:
    found = {name: paths for name, text in committed_files.items() if (paths := machine_paths(text, root))}
    assert found == {}


def test_no_committed_file_names_a_package_registry(committed_files: dict[str, str]) -> None:
    found = {name: hosts for name, text in committed_files.items() if (hosts := registry_hosts(text))}
    assert found == {}


def test_npm_locks_leave_the_registry_to_the_machine(committed_files: dict[str, str]) -> None:
    locks = {name: text for name, text in committed_files.items() if name.endswith("package-lock.json")}
    assert [name for name, text in locks.items() if re.search(r'"resolved":\s*"https?:', text)] == []


def test_no_file_that_a_build_makes_is_committed(committed_files: dict[str, str]) -> None:
    made = {"node_modules", "__pycache__", ".venv", "dist", "build"}
    assert [name for name in committed_files if made.intersection(Path(name).parts)] == []
