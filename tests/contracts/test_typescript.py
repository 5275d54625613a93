"""The generated half of the TypeScript client."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta

from coder_local._contracts import names, tstypes, typescript
from coder_local._registry.registry import Registry
from coder_local.api import DeclarationError, Domain, Record, Snapshot
from tests.contracts import rivals, runs

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "ipc" / "node"
COMPILER = NODE / "node_modules" / "typescript" / "bin" / "tsc"
EXPECTED = Path(__file__).with_name("expected_operations.ts")


def test_the_whole_file_reads_as_expected() -> None:
    assert typescript.build(runs.registry()) == EXPECTED.read_text("utf-8")


def test_an_empty_registry_gives_a_file_that_says_so() -> None:
    text = typescript.build(Registry())
    for declaration in ("Events {}", "Operations {}", "Api {}", "operationKinds = {} as const", "function buildApi("):
        assert declaration in text
    assert 'import type { Invoke } from "../types.js";' in text


def compiles(folder: Path, text: str) -> str:
    """Return what the compiler says of the client with this file in it."""
    shutil.copytree(NODE / "src", folder / "src")
    for name in ("tsconfig.json", "package.json"):
        shutil.copy(NODE / name, folder / name)
    (folder / "node_modules").symlink_to(NODE / "node_modules", target_is_directory=True)
    (folder / "src" / "generated" / "operations.ts").write_text(text, "utf-8")
    command = [shutil.which("node") or "node", str(COMPILER), "--noEmit", "-p", str(folder)]
    return subprocess.run(command, capture_output=True, check=False, text=True, cwd=folder).stdout


@pytest.mark.alone
@pytest.mark.skipif(not COMPILER.exists() or shutil.which("node") is None, reason="ipc/node has no node_modules")
@pytest.mark.parametrize("domains", [(), (runs.domain, rivals.domain)], ids=["none", "two"])
def test_it_compiles(tmp_path: Path, domains: tuple[Domain, ...]) -> None:
    assert compiles(tmp_path, typescript.build(runs.kernel_of(*domains).registry)) == ""


@pytest.mark.alone
@pytest.mark.skipif(not COMPILER.exists() or shutil.which("node") is None, reason="ipc/node has no node_modules")
def test_the_compiler_would_notice(tmp_path: Path) -> None:
    text = typescript.build(runs.registry()).replace("output: Run }", "output: Rum }", 1)
    assert "Cannot find name 'Rum'" in compiles(tmp_path, text)


def test_no_type_takes_a_name_that_the_client_exports() -> None:
    exported: set[str] = set()
    for listed in re.findall(r"export type \{([^}]+)\}", (NODE / "src" / "index.ts").read_text("utf-8")):
        exported |= {name.strip() for name in listed.split(",") if name.strip()}
    classes = re.findall(r"export (?:class|interface|type) (\w+)", (NODE / "src" / "errors.ts").read_text("utf-8"))
    exported |= {name for name in classes if not name.endswith(("Error", "Error_"))}
    assert exported <= names.RESERVED | {"CoderLocalClient"}


def test_a_name_that_would_hide_a_member_of_the_client_is_refused() -> None:
    domain = Domain("stream")

    @domain.query("stream.next")
    def next_(read: Snapshot) -> None:
        """Return the next."""

    with pytest.raises(DeclarationError, match=r"stream\.next would hide a member"):
        typescript.build(runs.kernel_of(domain).registry)


def test_texts_become_comments_that_cannot_end_early() -> None:
    domain = Domain("texts")

    class Odd(Record):
        """Ends */ early."""

    domain.table("odds")(Odd)
    domain.standard(Odd, operations=("get",))
    text = typescript.build(runs.kernel_of(domain).registry)
    assert r"/** Ends *\/ early. */" in text
    long = "word " * 40
    assert tstypes.tsdoc(f"One.\n\n{long}\n\n- a\n- b", "  ")[:4] == [
        "  /**",
        "   * One.",
        "   *",
        "   * " + "word " * 20 + "word",
    ]
    assert tstypes.tsdoc(f"One.\n\n{long}\n\n- a\n- b", "  ")[-3:] == ["   * - a", "   * - b", "   */"]
    assert tstypes.tsdoc("") == []


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string", "minLength": 1, "maxLength": 300}, "1 to 300 characters."),
        ({"type": "string", "maxLength": 100_000}, ""),
        ({"type": "array", "maxItems": 10_000}, ""),
        ({"type": "array", "maxItems": 100}, "At most 100 items."),
        ({"type": "integer", "minimum": 1}, "At least 1."),
        ({"type": "integer", "minimum": 1, "maximum": 500, "default": 50}, "1 to 500; 50 when missing."),
        ({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}], "default": None}, "Above 0."),
        ({"type": "boolean", "default": True}, "true when missing."),
        ({"type": "string", "default": "a"}, "`a` when missing."),
        ({"type": "string", "default": ""}, ""),
    ],
)
def test_limits_are_said_in_one_sentence(schema: dict[str, Any], text: str) -> None:
    assert tstypes.limits(schema).lower() == text.lower()


def test_the_blanket_limits_are_those_of_the_signature() -> None:
    domain = Domain("plain")

    @domain.query("plain.say")
    def say(read: Snapshot, *, text: str, items: list[str], short: Annotated[str, Meta(max_length=9)]) -> str:
        """Say it."""
        return text

    text = typescript.build(runs.kernel_of(domain).registry)
    shown = text.partition("interface PlainSayInput {\n")[2].partition("}")[0]
    assert shown == "  text: string;\n  items: string[];\n  /** At most 9 characters. */\n  short: string;\n"
