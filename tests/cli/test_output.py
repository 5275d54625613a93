"""What is printed where: no encoding and no closed pipe makes a command crash."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from coder_ipc.errors import CallTimeout, ConnectionLost, NotRunning, RemoteError
from coder_local.cli import errors, output

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, **options) -> subprocess.CompletedProcess:
    env = {"PYTHONPATH": f"{ROOT}:{ROOT / 'ipc'}:{ROOT / 'plugins'}", "PATH": "", "HOME": "/nowhere"}
    return subprocess.run(
        [sys.executable, "-c", code], env=env | options.pop("env", {}), timeout=60, check=False, **options
    )


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_json_is_the_same_json_in_any_encoding(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    text = output.to_json({"title": "日本 ä"}, stream)
    text.encode(encoding)
    assert json.loads(text) == {"title": "日本 ä"}


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (errors.invalid("no", field="/a", hint="do"), "invalid", 2),
        (NotRunning("no"), "not_found", 3),
        (CallTimeout("no"), "timeout", 11),
        (ConnectionLost("no"), "broken", 70),
        (RemoteError("stale", "no", data={"current": {}}), "stale", 5),
        (RemoteError("of a later version", "no"), "of a later version", 70),
    ],
)
def test_every_error_has_a_kind_and_an_exit_code(capsys, error, kind, code):
    assert output.Output(as_json=True).error(error) == code
    said = json.loads(capsys.readouterr().err)
    assert said["kind"] == kind
    assert output.Output().error(error) == code
    assert capsys.readouterr().err.startswith(f"error: {said['message']}")


def test_an_error_cannot_steer_the_terminal(capsys):
    output.Output().error(RemoteError("invalid", "\x1b[2J", field="/\x1b", hint="\x07"))
    assert not set(capsys.readouterr().err) & set("\x1b\x07")


def test_a_remark_is_left_out_when_quiet(capsys):
    output.Output(quiet=True).note("a")
    output.Output().note("b")
    assert capsys.readouterr().err == "b\n"


@pytest.mark.alone
def test_a_console_with_few_letters_gets_what_it_can_show():
    code = (
        "import sys; from coder_local.cli import output; sys.stdout.isatty = lambda: True; output.prepare_streams();"
        "output.Output().answer([{'title': '日本 ä'}])"
    )
    done = python(code, env={"PYTHONIOENCODING": "cp1252"}, capture_output=True)
    assert done.stderr == b""
    assert done.stdout.decode("cp1252").splitlines() == ["title", "?? ä"]


@pytest.mark.alone
def test_nobody_reading_is_no_error_of_ours():
    code = (
        "import sys; from coder_local.cli import app; app._run = lambda _: print('x' * 200_000) or 0;"
        "sys.exit(app.run(['status']))"
    )
    env = {"PYTHONPATH": f"{ROOT}:{ROOT / 'ipc'}"}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.read(1) == b"x"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == errors.UNREAD


@pytest.mark.alone
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["status"], ["serve", "--help"]])
def test_a_quick_command_imports_nothing_heavy(tmp_path, arguments):
    loaded = modules_after(["--data-dir", str(tmp_path), *arguments])
    assert not loaded & HEAVY


HEAVY = {
    "asyncio",
    "msgspec",
    "aiohttp",
    "sqlite3",
    "rich",
    "logging",
    "coder_local._store",
    "coder_local._registry",
    "coder_local.api",
}


def modules_after(arguments: list[str]) -> set[str]:
    code = (
        f"import sys; from coder_local.cli import main; main({arguments!r});"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = python(code, capture_output=True, text=True)
    loaded = set(done.stderr.split())
    assert "coder_local.cli" in loaded
    return loaded


@pytest.mark.alone
def test_a_call_imports_nothing_heavy(daemon):
    for arguments in (["status"], ["call", "daemon.status"], ["probe", "echo", "a"]):
        loaded = modules_after(["--data-dir", str(daemon.data_dir), *arguments])
        assert "coder_ipc.client" in loaded
        assert not loaded & HEAVY


@pytest.mark.alone
def test_serve_loads_no_argument_parser(tmp_path):
    loaded = modules_after(["serve", "--data-dir", str(tmp_path), "--http-port", "99999999"])
    assert not loaded & (HEAVY | {"argparse", "coder_local.cli.app"})
