"""OpenAPI, OpenRPC, events, MCP and SQL: complete, sound inside, and the same each time."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coder_local import __version__
from coder_local._contracts import events, files, mcp, openapi, openrpc, sql
from coder_local._contracts.shared import GENERATED
from coder_local.api.errors import KINDS
from tests.contracts import rivals, runs

ROOT = Path(__file__).resolve().parents[2]
KERNEL = runs.kernel_of(runs.domain, rivals.domain)
REGISTRY = KERNEL.registry
NAMES = REGISTRY.names()
OPENAPI, OPENRPC = openapi.build(REGISTRY), openrpc.build(REGISTRY)
EVENTS, MCP = events.build(REGISTRY), mcp.build(REGISTRY)


def operations() -> dict[str, tuple[str, str, Any]]:
    """Return method, path and operation of each `operationId`."""
    return {
        found["operationId"]: (method, path, found)
        for path, methods in OPENAPI["paths"].items()
        for method, found in methods.items()
    }


def nodes(document: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a document."""
    if isinstance(document, dict):
        yield document
    for part in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from nodes(part)


def at(document: Any, pointer: str) -> Any:
    """Return what a local `$ref` points to."""
    assert pointer.startswith("#/")
    for word in pointer[2:].split("/"):
        document = document[word]
    return document


def test_every_operation_is_in_every_document() -> None:
    assert sorted(operations()) == NAMES
    assert [method["name"] for method in OPENRPC["methods"]] == NAMES
    assert [tool["_meta"]["operation"] for tool in MCP["tools"]] == NAMES
    rendered = files.render(REGISTRY)[files.TYPESCRIPT]
    assert re.findall(r'^  "([a-z_.]+)": \{ kind:', rendered, re.MULTILINE) == NAMES
    assert re.findall(r'^  "([a-z_.]+)": "\w+",$', rendered, re.MULTILINE) == NAMES
    assert re.findall(r"/\*\* Input of `([a-z_.]+)`\. \*/", rendered)


def test_every_event_is_in_the_catalogue() -> None:
    assert list(EVENTS["events"]) == list(REGISTRY.events())
    assert {"runs.run.paused", "runs.run.restored", "rivals.client.created"} <= EVENTS["events"].keys()
    assert EVENTS["events"]["runs.run.paused"]["description"] == "A run was paused."
    assert EVENTS["events"]["runs.run.paused"]["emitted_by"] == ["runs.start"]
    created = EVENTS["events"]["runs.run.created"]
    assert created["emitted_by"] == ["runs.create"]
    assert created["record"] == "runs.run"
    assert at(EVENTS, created["data"]["$ref"])["required"] == ["id", "rev", "changed"]


@pytest.mark.parametrize("document", [OPENAPI, OPENRPC, EVENTS], ids=["openapi", "openrpc", "events"])
def test_every_reference_leads_somewhere(document: Any) -> None:
    pointers = [node["$ref"] for node in nodes(document) if "$ref" in node]
    assert pointers
    for pointer in pointers:
        assert at(document, pointer)
    mapped = [ref for node in nodes(document) for ref in node.get("discriminator", {}).get("mapping", {}).values()]
    for pointer in mapped:
        assert at(document, pointer)


@pytest.mark.parametrize("document", [OPENAPI, OPENRPC, EVENTS, MCP], ids=["openapi", "openrpc", "events", "mcp"])
def test_the_document_says_what_made_it_and_is_json(document: Any) -> None:
    assert document["x-generated-by"] == GENERATED
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_required_fields_are_described() -> None:
    for node in nodes(OPENAPI):
        if isinstance(node.get("required"), list):
            assert set(node["required"]) <= node["properties"].keys()


# -- OpenAPI ----------------------------------------------------------------------------------------------------------


def test_openapi_has_the_structure_of_3_1() -> None:
    assert OPENAPI["openapi"] == "3.1.0"
    assert OPENAPI["info"]["version"] == __version__
    assert {tag["name"] for tag in OPENAPI["tags"]} == {"runs", "rivals"}
    assert OPENAPI["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    allowed = {"openapi", "info", "servers", "security", "tags", "paths", "components"}
    assert {word for word in OPENAPI if not word.startswith("x-")} == allowed
    for name in OPENAPI["components"]["schemas"]:
        assert re.fullmatch(r"[a-zA-Z0-9.\-_]+", name)


def test_paths_and_parameters_agree() -> None:
    for method, path, operation in operations().values():
        parameters = [at(OPENAPI, p["$ref"]) if "$ref" in p else p for p in operation.get("parameters", [])]
        in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path))
        assert len({(parameter["in"], parameter["name"]) for parameter in parameters}) == len(parameters)
        assert all(("schema" in parameter) != ("content" in parameter) for parameter in parameters)
        assert method in {"get", "post", "patch", "delete"}
        assert ("requestBody" in operation) <= (method in {"post", "patch"})
        assert all(re.fullmatch(r"[1-5]\d\d|default", status) for status in operation["responses"])
        assert operation["summary"]
        assert operation["tags"] == [operation["operationId"].split(".")[0]]


def test_every_field_of_an_input_is_somewhere_in_its_operation() -> None:
    headers = {"if_rev": "If-Match", "idempotency_key": "Idempotency-Key", "confirm": "X-Confirm"}
    for name, (_, _, operation) in operations().items():
        prepared = REGISTRY.find(name)
        assert prepared is not None
        body = [
            content["schema"]["properties"] for content in operation.get("requestBody", {}).get("content", {}).values()
        ]
        parameters = [at(OPENAPI, p["$ref"]) if "$ref" in p else p for p in operation.get("parameters", [])]
        named = {parameter["name"] for parameter in parameters}.union(*body)
        expected = {parameter.name for parameter in prepared.signature.parameters}
        with_id = "id" in expected
        expected |= {headers[field] for field in prepared.signature.envelope if field != "if_rev" or with_id}
        assert named - {"If-None-Match"} == expected, name


def test_what_openapi_says_of_some_operations() -> None:
    by_name = {name: operation for name, (_, _, operation) in operations().items()}
    created = by_name["runs.create"]["responses"]["201"]
    assert set(created["headers"]) == {"ETag", "Location"}
    assert set(by_name["rivals.clients.create"]["responses"]) >= {"200"}, "it has no `get`, hence no Location"
    assert by_name["runs.start"]["x-emits"] == ["runs.run.paused"]
    assert by_name["runs.start"]["description"].startswith("Start a run.\n\nThe answer comes")
    assert by_name["runs.index.rebuild"]["x-safety"] == "destructive"
    assert by_name["runs.steps.retry"]["x-person-only"] is True
    assert "application/merge-patch+json" in by_name["runs.update"]["requestBody"]["content"]
    item = by_name["runs.follow"]["responses"]["200"]["content"]["text/event-stream"]["x-item-schema"]
    assert item == {"$ref": "#/components/schemas/OutputLine"}
    query = {parameter["name"]: parameter for parameter in by_name["runs.plan"]["parameters"]}
    assert query["spec"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/StepSpecInput"}
    assert query["more"]["schema"]["items"]["contentMediaType"] == "application/json"
    assert query["deep"]["schema"] == {"type": "boolean", "default": False}
    assert by_name["runs.list"]["parameters"][0]["schema"] == {"$ref": "#/components/schemas/RunsRunState"}
    assert OPENAPI["x-settings"]["runs"] == {"$ref": "#/components/schemas/RunSettings"}


def test_every_kind_of_error_has_its_answer() -> None:
    responses = OPENAPI["components"]["responses"]
    assert len(responses) == len(KINDS) + 2
    assert OPENAPI["components"]["schemas"]["Problem"]["properties"]["kind"]["enum"] == sorted(KINDS)
    for _, _, operation in operations().values():
        assert operation["responses"]["401"] == {"$ref": "#/components/responses/Unauthenticated"}


# -- OpenRPC ----------------------------------------------------------------------------------------------------------


def test_openrpc_has_the_structure_of_1_3() -> None:
    assert OPENRPC["openrpc"].startswith("1.3.")
    for method in OPENRPC["methods"]:
        assert method["paramStructure"] == "by-name"
        assert {"name", "summary", "params", "result", "errors"} <= method.keys()
        for param in method["params"]:
            assert {"name", "required", "schema"} <= param.keys()
        prepared = REGISTRY.find(method["name"])
        assert prepared is not None
        assert [param["name"] for param in method["params"]] == list(prepared.signature.struct.__struct_fields__)
    codes = {error["code"] for error in OPENRPC["components"]["errors"].values()}
    assert codes == {-32602, -32603, -32000}


def test_a_stream_answers_null_and_says_what_its_items_are() -> None:
    follow = next(method for method in OPENRPC["methods"] if method["name"] == "runs.follow")
    assert follow["result"]["schema"] == {"type": "null"}
    assert follow["x-item"] == {"$ref": "#/components/schemas/OutputLine"}


# -- MCP --------------------------------------------------------------------------------------------------------------


def test_tools_stand_alone() -> None:
    for tool in MCP["tools"]:
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["name"])
        assert tool["description"]
        assert tool["title"]
        for schema in filter(None, (tool["inputSchema"], tool.get("outputSchema"))):
            assert schema["type"] == "object"
            for node in nodes(schema):
                assert "discriminator" not in node
                if "$ref" in node:
                    assert at(schema, node["$ref"])
                    assert node["$ref"].startswith("#/$defs/")
    assert len({tool["name"] for tool in MCP["tools"]}) == len(NAMES)


def test_only_what_holds_itself_is_not_put_in_place() -> None:
    start = next(tool for tool in MCP["tools"] if tool["name"] == "runs_start")
    assert list(start["inputSchema"]["$defs"]) == ["NodeInput"]
    plan = next(tool for tool in MCP["tools"] if tool["name"] == "runs_plan")
    assert "$defs" not in plan["inputSchema"], "a spec stands in two places of it"
    assert plan["outputSchema"]["$defs"]["Node"]["properties"]["text"] == {"type": "string"}
    assert start["inputSchema"]["properties"]["steps"]["items"]["properties"]["operation"]["type"] == "string"


def test_what_a_tool_answers_is_described_by_its_structure_alone() -> None:
    get = next(tool for tool in MCP["tools"] if tool["name"] == "runs_get")
    assert get["outputSchema"]["properties"]["rev"] == {"type": "integer"}
    assert get["outputSchema"]["properties"]["state"]["enum"][0] == "queued"
    assert set(get["outputSchema"]["required"]) == set(get["outputSchema"]["properties"])


def test_the_safety_word_becomes_hints() -> None:
    hints = {tool["_meta"]["operation"]: list(tool["annotations"].values()) for tool in MCP["tools"]}
    assert list(MCP["tools"][0]["annotations"]) == [
        "readOnlyHint",
        "destructiveHint",
        "idempotentHint",
        "openWorldHint",
    ]
    assert hints["runs.get"] == [True, False, True, False]
    assert hints["runs.start"] == [False, False, False, False]
    assert hints["runs.update"] == [False, False, True, False]
    assert hints["runs.index.rebuild"] == [False, True, False, False]
    assert hints["runs.share"] == [False, True, False, True]


def test_tool_names_that_are_too_long_or_clash_stay_apart() -> None:
    long = "runs." + "a" * 70
    names = mcp.tool_names(["runs.a_b", "runs.a.b", "runs.c", long, long + "b"])
    assert names["runs.c"] == "runs_c"
    assert len(set(names.values())) == 5
    assert all(len(name) <= mcp.NAME_LIMIT for name in names.values())
    assert names == mcp.tool_names(reversed(list(names)))


# -- SQL --------------------------------------------------------------------------------------------------------------


def test_the_tables_can_be_made() -> None:
    text = sql.build(REGISTRY)
    assert text.startswith(f"-- {GENERATED}\n")
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(text)
        made = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()
    assert {"event", "change", "runs", "rivals_runs", "rivals_clients"} <= made


# -- always the same --------------------------------------------------------------------------------------------------


def test_the_order_of_loading_changes_nothing() -> None:
    one = files.render(runs.kernel_of(runs.domain, rivals.domain).registry)
    other = files.render(runs.kernel_of(rivals.domain, runs.domain).registry)
    assert one == other
    assert all(text.endswith("\n") and not text.endswith("\n\n") for text in one.values())
    assert not any(line != line.rstrip() for text in one.values() for line in text.splitlines())


@pytest.mark.alone
def test_the_hash_seed_changes_nothing() -> None:
    program = (
        "import hashlib; from coder_local._contracts import files; from tests.contracts import rivals, runs;"
        "texts = files.render(runs.kernel_of(runs.domain, rivals.domain).registry);"
        "print(hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest())"
    )
    paths = os.pathsep.join(str(path) for path in (ROOT, ROOT / "plugins", ROOT / "ipc"))
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(hashes) == 1
    assert len(hashes.pop().strip()) == 64
