"""The arguments of `serve`."""

from pathlib import Path

import pytest

from coder_local.cli import main, serve


@pytest.fixture
def served(monkeypatch):
    """What the daemon's own `serve` was called with, instead of serving in the tests' process."""
    import coder_local._daemon.main as daemon

    asked: list = []
    monkeypatch.setattr(daemon, "serve", lambda options: asked.append(options) or 0)
    return asked


def test_without_options_all_is_the_default(served, monkeypatch, tmp_path):
    monkeypatch.setenv("CODER_LOCAL_DATA_DIR", str(tmp_path))
    assert main(["serve"]) == 0
    assert served[0]._asdict() == {
        "data_dir": tmp_path, "socket": None, "http_port": 0, "parent_pid": None,
        "watch_stdin": False, "linger": None, "log_level": "INFO", "safe": False,
        "take_over": False, "allow_network": False, "http_wish": 0,
    }  # fmt: skip


def test_every_option_arrives(served):
    arguments = (
        "serve --data-dir d --socket s --http-port=8080 --parent-pid 7 --watch-stdin --linger 1.5 --safe"
        " --log-level debug --take-over --allow-network-directory"
    )
    assert main(arguments.split()) == 0
    assert served[0]._asdict() == {
        "data_dir": Path("d").absolute(), "socket": "s", "http_port": 8080, "parent_pid": 7,
        "watch_stdin": True, "linger": 1.5, "log_level": "DEBUG", "safe": True,
        "take_over": True, "allow_network": True, "http_wish": 0,
    }  # fmt: skip


@pytest.mark.parametrize(("value", "safe"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_safe_mode_comes_from_the_environment_too(served, monkeypatch, value, safe):
    monkeypatch.setenv("CODER_LOCAL_SAFE", value)
    assert main(["serve", "--data-dir", "d"]) == 0
    assert served[0].safe is safe


def test_options_may_stand_before_the_word(served):
    assert main(["--linger", "60", "serve", "--data-dir", "d", "--no-http"]) == 0
    assert (served[0].linger, served[0].http_port, served[0].data_dir) == (60, None, Path("d").absolute())


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("serve", True),
        ("--linger 60 serve", True),
        ("--data-dir serve status", False),
        ("help serve", False),
        ("status serve", False),
        ("--json", False),
        ("", False),
    ],
)
def test_serve_is_meant_only_as_the_first_word(arguments, meant):
    assert serve.is_meant(arguments.split()) is meant


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--prot 1", "serve has no option --prot"),
        ("--http-prot 1", "did you mean --http-port?"),
        ("--http-port", "--http-port needs a value"),
        ("--http-port=", "--http-port needs a value"),
        ("--http-port x", "is no number from 0 on"),
        ("--http-port 65536", "65536 is no port"),
        ("--http-port 1 --no-http", "exclude each other"),
        ("--parent-pid -1", "is no number from 0 on"),
        ("--linger soon", "is no number of seconds"),
        ("--linger nan", "is no number of seconds"),
        ("--log-level loud", "'loud' is no level"),
        ("now", "serve takes options only, not 'now'"),
        ("--no-http=1", "serve has no option --no-http"),
    ],
)
def test_a_mistake_is_told(served, capsys, arguments, message):
    assert main(["serve", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, served) == ("", [])
    assert message in err
    assert "hint: see coder-local serve --help" in err


def test_the_help_names_every_option(capsys):
    assert main(["serve", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in (*serve._VALUES, *serve._FLAGS))
