"""Schemas, their names and descriptions, and that inputs made from them are taken and answers fit them."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coder_local._contracts import docs
from coder_local._contracts.mcp import contained
from coder_local._contracts.schemas import Model
from coder_local._registry.dispatch import Call
from coder_local._registry.principal import OWNER
from coder_local.api import Domain, Snapshot
from tests.contracts import rivals, runs
from tests.contracts.jsonschemas import faults, values

MODEL = runs.model()


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
@pytest.mark.parametrize("name", MODEL.operations)
def test_what_a_schema_describes_is_taken(name: str, data: st.DataObject) -> None:
    operation = MODEL.operations[name]
    schema = contained(operation.input, MODEL)
    given_ = data.draw(values(schema, schema))
    decoded = operation.prepared.signature.decode(json.dumps(given_).encode())
    assert {field for field in given_ if not hasattr(decoded, field)} == set()


def test_what_is_answered_fits_its_schema() -> None:
    kernel = runs.kernel_of(runs.domain)
    kernel.store.open()
    for statement in kernel.registry.tables.all()[0].ddl():
        kernel.store.writer.connection.execute(statement)

    def call(name: str, **given_: Any) -> Any:
        answers: list[Any] = []
        kernel.dispatcher.start(Call(name, json.dumps(given_).encode(), OWNER, lambda *answer: answers.append(answer)))
        ((body, error),) = answers
        assert error is None, error
        schema = contained(MODEL.operations[name].output, MODEL)
        answer = json.loads(body)
        assert list(faults(answer, schema, schema)) == []
        return answer

    try:
        step = {"operation": "a.b", "input": {"deep": [1, None]}, "on_failure": "retry"}
        tree = {"text": "a", "behind": [{"text": "b"}]}
        made = call("runs.create", title="a", steps=[step], labels={"x": "y"}, position=[1, 2], tree=tree)
        call("runs.start", title="b", steps=[], estimate={"low": "PT1H", "likely": "PT2H", "high": "P1D"})
        call("runs.update", id=made["id"], title="c")
        call("runs.get", id=made["id"])
        assert call("runs.list", limit=1)["next_cursor"]
        assert len(call("runs.history", id=made["id"])["items"]) == 2
        assert call("runs.status") == {"queued": 2}
        assert call("runs.index", q="c") == ["c"]
        assert call("runs.plan", spec=step)["items"][0]["behind"][0]["text"] == "end"
        call("runs.delete", id=made["id"])
    finally:
        kernel.store.close()


def test_the_docstrings_of_fields_are_their_descriptions() -> None:
    run = MODEL.components["Run"]
    assert run["description"] == "A series of steps that survives a restart."
    assert run["properties"]["position"]["description"] == "Line and column."
    assert run["properties"]["rev"]["description"] == "1 at creation, plus 1 per write."
    assert "description" not in run["properties"]["title"]
    created = MODEL.operations["runs.create"].input["properties"]
    assert created["position"]["description"] == "Line and column."
    assert MODEL.operations["runs.get"].input["properties"]["id"]["description"] == "Id of the run."
    assert MODEL.operations["runs.list"].input["properties"]["limit"]["description"] == "Items on the page."
    assert MODEL.components["RunSettings"]["properties"]["parallel"]["description"] == "Steps at the same time."


def test_a_class_without_source_has_no_descriptions() -> None:
    namespace: dict[str, Any] = {"__name__": "nowhere"}
    exec("class Made:\n    a: int = 1\n    'Never seen.'\n", namespace)
    assert docs.of_fields(namespace["Made"]) == {}
    assert docs.of_fields(int) == {}


def test_an_answer_always_has_what_an_input_may_leave_out() -> None:
    answered, taken = MODEL.components["StepSpec"], MODEL.components["StepSpecInput"]
    assert answered["required"] == ["operation", "input", "on_failure"]
    assert taken["required"] == ["operation"]
    assert taken["properties"]["on_failure"]["default"] == "stop"
    assert "default" not in answered["properties"]["on_failure"]
    assert "EstimateInput" not in MODEL.components, "it is the same in both: one schema"
    # UNSET and omit_defaults: may be missing in an answer.
    assert MODEL.components["Failed"]["required"] == ["type", "message"]


def test_words_keep_the_order_and_the_name_they_were_written_with() -> None:
    assert MODEL.components["RunState"] == {
        "description": "How far a run has come.",
        "type": "string",
        "enum": ["queued", "running", "paused", "succeeded", "failed"],
    }
    assert MODEL.components["OnFailure"]["enum"] == ["stop", "skip", "retry"]
    assert MODEL.components["OutputLine"]["properties"]["channel"]["enum"] == ["stdout", "stderr"]
    assert MODEL.operations["runs.list"].input["properties"]["sort"]["enum"] == ["id", "-id", "title", "-title"]


@pytest.mark.parametrize("domains", [(runs.domain, rivals.domain), (rivals.domain, runs.domain)])
def test_two_domains_may_use_the_same_names(domains: tuple[Domain, ...]) -> None:
    model = Model(runs.kernel_of(*domains).registry)
    names = set(model.components)
    assert {"RunsRun", "RivalsRun", "RunsPageOfRun", "RivalsPageOfRun", "RunsRunState", "RivalsRunState"} <= names
    assert not {"Run", "PageOfRun", "RunState"} & names
    assert {"RivalsClient", "RunsEstimate", "RivalsEstimate"} <= names, "`Client` is a name of the TypeScript client"
    items = model.components["RivalsPageOfRun"]["properties"]["items"]["items"]
    assert items == {"$ref": "#/components/schemas/RivalsRun"}


def test_fields_may_be_called_as_words_of_json_schema() -> None:
    domain = Domain("words")

    @domain.query("words.say")
    def say(
        read: Snapshot, *, type: str, properties: list[str], discriminator: str = "", enum: runs.RunState = "queued"
    ) -> None:
        """Say it."""

    model = Model(runs.kernel_of(domain).registry)
    described = contained(model.operations["words.say"].input, model)
    assert set(described["properties"]) >= {"type", "properties", "discriminator", "enum"}
    assert described["properties"]["enum"]["enum"][0] == "queued"


def test_an_operation_that_cannot_be_read_is_left_out_and_named() -> None:
    domain = Domain("bad")

    @domain.query("bad.query")
    def query(read: Snapshot, *, pair: runs.Estimate | runs.StepSpec) -> None:
        """Take what cannot be told apart."""

    @domain.query("bad.good")
    def good(read: Snapshot) -> None:
        """Take nothing."""

    model = Model(runs.kernel_of(domain).registry)
    assert set(model.operations) == {"bad.good"}
    assert set(model.left_out) == {"bad.query"}


def test_the_docstrings_of_a_module_that_was_loaded_anew_are_its_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for number in range(2):  # as of a plugin that is enabled with another content
        (tmp_path / "anew.py").write_text(f'class Made:\n    size: int\n    """{"Grown " * number}size."""\n')
        monkeypatch.delitem(sys.modules, "anew", raising=False)
        importlib.invalidate_caches()
        assert docs.of_fields(importlib.import_module("anew").Made) == {"size": "Grown " * number + "size."}
    monkeypatch.delitem(sys.modules, "anew")
