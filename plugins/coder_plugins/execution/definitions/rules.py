"""Whether some steps can run: everything that can be known before anything runs, all of it at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from coder_local.api import Context, Error, Safety, Snapshot, StepKind, Value, WorkKind, parse_duration
from coder_plugins.execution.rules import clear, expansion, graph, references, shape
from coder_plugins.execution.rules.hashing import content_hash
from coder_plugins.execution.rules.references import ReferenceFault

from .records import EXPANDED_LIMIT, Body, Checked, CheckedStep, Finding, MapInput, StepSpec

Kinds = Mapping[str, StepKind[Any]]

LONGEST_S = 30 * 24 * 3600
"""Seconds of the longest time that a step may be given."""
_TIMES = ("timeout", "queue_timeout", "total_timeout", "deadline")
_WAITS = frozenset({"approval", "signal", "timer"})
_WORST = (Safety.READ, Safety.WRITE, Safety.DESTRUCTIVE, Safety.EXTERNAL)


def kinds_of(source: Snapshot | Context) -> dict[str, StepKind[Any]]:
    """Return the kinds of steps that there are, by name; the first of two with one name counts."""
    found: dict[str, StepKind[Any]] = {}
    for kind in source.offered("step_kinds"):
        found.setdefault(kind.name, kind)
    return found


def unfold(steps: Sequence[StepSpec]) -> list[StepSpec]:
    """Return the steps with each of kind `map` written as the fan-out that it is."""
    return [_unfold(step) if step.kind == "map" and _is_map(step) else step for step in steps]


def _is_map(step: StepSpec) -> bool:
    return step.foreach is None and step.matrix is None and not any(shape.faults(MapInput, step.input))


def _unfold(step: StepSpec) -> StepSpec:
    found = msgspec.convert(step.input, MapInput)
    return msgspec.structs.replace(step, kind=found.kind, input=found.input, foreach=found.over)


def check(
    read: Snapshot, steps: Sequence[StepSpec], inputs: Mapping[str, Any], *, folder: Path | None, parallel: int
) -> Checked:
    """Return all that can be said of some steps before they run. `folder` is the one that the run works in."""
    steps = unfold(steps)
    kinds = kinds_of(read)
    findings, sound = _findings(read, kinds, steps, inputs, folder=folder)
    for index, step in enumerate(steps):
        findings += _secret_findings(read, f"steps/{index}", step.key, msgspec.to_builtins(step))
    findings += _secret_findings(read, "inputs", None, dict(inputs))
    seen = [_checked_step(read, kinds, step) for step in steps]
    if sound:
        wrong = {finding.step for finding in findings if finding.severity == "error"}  # nobody knows what they would do
        findings += _unapproved(steps, [each for each in seen if each.key not in wrong])
    return Checked(
        ok=all(finding.severity != "error" for finding in findings),
        safety=str(max((Safety(each.safety) for each in seen), key=_WORST.index, default=Safety.READ)),
        hash=content_hash(Body(steps=list(steps), parallel=parallel)),
        findings=findings,
        steps=seen,
        order=graph.order(steps) if sound else [],
    )


def _findings(
    read: Snapshot, kinds: Kinds, steps: Sequence[StepSpec], inputs: Mapping[str, Any] | None, *, folder: Path | None
) -> tuple[list[Finding], bool]:
    """Return what is wrong with steps, and whether they are a graph. Without `inputs` nobody knows their names yet."""
    findings = list(_graph_findings(steps))
    sound = not findings
    findings += _endless_findings(steps) if sound else ()
    for index in range(len(steps)):
        findings += _step_findings(read, kinds, steps, index, inputs, folder=folder, sound=sound)
    return findings, sound


def worst_of(read: Snapshot, steps: Iterable[StepSpec]) -> Safety:
    """Return the worst word of some steps."""
    kinds = kinds_of(read)
    words = (Safety(_checked_step(read, kinds, step).safety) for step in unfold(list(steps)))
    return max(words, key=_WORST.index, default=Safety.READ)


# -- the graph --------------------------------------------------------------------------------------------------------


def _error(step: str | None, rule: str, message: str, field: str | None = None, hint: str | None = None) -> Finding:
    return Finding(severity="error", step=step, rule=rule, message=message, field=field, hint=hint)


def _graph_findings(steps: Sequence[StepSpec]) -> Iterator[Finding]:
    keys = dict.fromkeys(step.key for step in steps)
    before: set[str] = set()
    for index, step in enumerate(steps):
        if step.key in before:
            yield _error(step.key, "duplicate", f"two steps are called {step.key}", f"/steps/{index}/key")
        before.add(step.key)
        told: set[str] = set()
        for place, need in enumerate(step.needs):
            field = f"/steps/{index}/needs/{place}"
            if need not in keys:
                near = difflib.get_close_matches(need, keys, 1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(list(keys)[:20])}"
                yield _error(step.key, "unknown_step", f"{step.key} needs {need}, which is no step", field, hint)
            elif need in told:
                yield _error(step.key, "duplicate", f"{step.key} needs {need} twice", field)
            told.add(need)
        if isinstance(step.join, int) and step.join > len(step.needs):
            message = f"{step.key} needs {len(step.needs)} steps, so {step.join} of them cannot succeed"
            yield _error(step.key, "join", message, f"/steps/{index}/join")
    known = [msgspec.structs.replace(step, needs=[need for need in step.needs if need in keys]) for step in steps]
    if ring := graph.cycle(known):
        hint = "take one of these needs away"
        yield _error(ring[0], "cycle", f"these steps wait for each other: {' > '.join(ring)}", "/steps", hint)


def _endless_findings(steps: Sequence[StepSpec]) -> Iterator[Finding]:
    by_key = {step.key: step for step in steps}
    for index, step in enumerate(steps):
        itself = step.kind == "sub_run" and step.input.get("definition") == "self" and not step.allow_failure
        if itself and all(_always_begins(by_key[key]) for key in (step.key, *graph.before(steps, step.key))):
            message = f"{step.key} runs these very steps again, and nothing keeps it from doing so for ever"
            hint = "give it a condition (when), or a step that it needs"
            yield _error(step.key, "endless", message, f"/steps/{index}/input/definition", hint)


def _always_begins(step: StepSpec) -> bool:
    """Tell whether a step begins in every run that goes well, and nobody is asked."""
    many = step.foreach is not None or step.matrix is not None  # of none, perhaps
    return step.when is None and not many and step.run_if != "failure()" and step.kind not in {"approval", "signal"}


# -- one step ---------------------------------------------------------------------------------------------------------


def _step_findings(
    read: Snapshot,
    kinds: Kinds,
    steps: Sequence[StepSpec],
    index: int,
    inputs: Mapping[str, Any] | None,
    *,
    folder: Path | None,
    sound: bool,
) -> Iterator[Finding]:
    step, field = steps[index], f"/steps/{index}"
    yield from _limit_findings(step, field)
    try:
        yield from _reference_findings(steps, index, inputs, sound=sound)
    except ReferenceFault as error:
        yield _error(step.key, "reference", str(error), f"{field}/input")
        return
    yield from _kind_findings(read, kinds, step, step.kind, step.input, f"{field}", folder=folder)
    if step.compensate is not None:
        how = step.compensate
        yield from _kind_findings(read, kinds, step, how.kind, how.input, f"{field}/compensate", folder=folder)


def _limit_findings(step: StepSpec, field: str) -> Iterator[Finding]:
    times: list[tuple[str, str | None]] = [(name, getattr(step, name)) for name in _TIMES]
    if step.compensate is not None:
        times.append(("compensate/timeout", step.compensate.timeout))
    for name, text in times:
        seconds = LONGEST_S if text is None else seconds_of(text)
        if not 0 < seconds <= LONGEST_S:
            without = "10 minutes" if name in {"timeout", "compensate/timeout"} else "no such limit"
            hint = "at most P30D" if seconds else f"0 is not for ever: leave it out for {without}"
            yield _error(step.key, "limit", f"{name} of {step.key} cannot be {text}", f"{field}/{name}", hint)
    for name, text in (("first", step.retry.first), ("cap", step.retry.cap)):
        if seconds_of(text) > LONGEST_S:
            message = f"the {name} wait between attempts at {step.key} cannot be {text}"
            yield _error(step.key, "limit", message, f"{field}/retry/{name}", "at most P30D")
    if step.cache and step.kind in _WAITS:
        message = f"{step.key} waits, and what came of that once is no result for another run"
        yield _error(step.key, "limit", message, f"{field}/cache", "take cache away")
    if step.foreach is not None and step.matrix is not None:
        yield _error(
            step.key, "limit", f"{step.key} has foreach and matrix; it can have one of them", f"{field}/matrix"
        )
    size = expansion.size(step.matrix) if step.matrix else len(step.foreach) if isinstance(step.foreach, list) else 0
    if size > EXPANDED_LIMIT:
        message = f"{step.key} would become {size} steps, and {EXPANDED_LIMIT} is the most"
        yield _error(step.key, "limit", message, f"{field}/matrix" if step.matrix else f"{field}/foreach")
    if step.when is not None:
        given = [name for name in ("equals", "not_equals", "one_of") if getattr(step.when, name) is not msgspec.UNSET]
        if len(given) != 1:
            message = f"the condition of {step.key} has one of equals, not_equals and one_of"
            yield _error(step.key, "schema", message, f"{field}/when")


def seconds_of(text: str) -> float:
    """Return the seconds of a duration, infinity for one that no calendar holds."""
    try:
        return parse_duration(text).total_seconds()
    except ValueError:  # its form was looked at before, so it is too long
        return float("inf")


def _reference_findings(
    steps: Sequence[StepSpec], index: int, inputs: Mapping[str, Any] | None, *, sound: bool
) -> Iterator[Finding]:
    step, field = steps[index], f"/steps/{index}"
    parts: dict[str, Any] = {
        "input": _own_input(step.kind, step.input), "foreach": step.foreach, "when": msgspec.to_builtins(step.when),
    }  # fmt: skip
    if any(references.find(msgspec.to_builtins(step.matrix))):
        hint = "use foreach, whose items may be references"
        yield _error(step.key, "reference", "the values of a matrix are no references", f"{field}/matrix", hint)
    if step.compensate is not None:
        parts["compensate"] = {"input": _own_input(step.compensate.kind, step.compensate.input)}
    for place in references.find(parts):
        root, rest = place.path[0], place.path[1:]
        text, undoes = ".".join(place.path), place.pointer.startswith("/compensate/")
        roots = (*references.ROOTS, "output") if undoes else references.ROOTS
        if root not in roots:
            hint = f"it begins with one of {', '.join(roots)}"
            yield _error(step.key, "reference", f"{text} names nothing", field + place.pointer, hint)
        elif root == "inputs" and inputs is not None and rest and rest[0] not in inputs:
            near = difflib.get_close_matches(rest[0], inputs, 1)
            hint = f"did you mean {near[0]}?" if near else "give it in inputs"
            yield _error(step.key, "reference", f"there is no input {rest[0]}", field + place.pointer, hint)
        elif root == "steps" and not (rest and _ends_before(steps, step, rest[0], sound=sound and not undoes)):
            name = rest[0] if rest else "?"
            hint = f"add {name} to its needs" if name in {each.key for each in steps} else "there is no such step"
            message = f"{step.key} refers to {text}, which need not have ended before it"
            yield _error(step.key, "reference", message, field + place.pointer, hint)
        elif root in {"item", "matrix"} and step.foreach is None and step.matrix is None:
            message = f"{step.key} is no fan-out, so there is no {root}"
            yield _error(step.key, "reference", message, field + place.pointer, "give it foreach or matrix")


def _own_input(kind: str, input: Mapping[str, Any]) -> dict[str, Any]:
    """Return an input without the steps of a sub-run: what they refer to is their own run's."""
    return {name: value for name, value in input.items() if kind != "sub_run" or name != "steps"}


def _ends_before(steps: Sequence[StepSpec], step: StepSpec, key: str, *, sound: bool) -> bool:
    """Tell whether a step must have ended before another begins.

    Of a graph that is none, and of what undoes a step (all have ended then), only whether it is there.
    """
    if not sound:
        return any(each.key == key for each in steps)
    return key in step.needs or key in graph.before(steps, step.key)


def _kind_findings(
    read: Snapshot,
    kinds: Kinds,
    step: StepSpec,
    name: str,
    input: Mapping[str, Any],
    field: str,
    *,
    folder: Path | None,
) -> Iterator[Finding]:
    kind = kinds.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, kinds, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(kinds))}; a plugin may be missing"
        yield _error(step.key, "unknown_kind", f"there is no kind of step {name!r}", f"{field}/kind", hint)
        return
    if kind.needs_folder and folder is None:
        hint = "give the run a folder to work in"
        yield _error(
            step.key, "folder", f"a step of kind {name} works in a folder, and the run has none", "/folder", hint
        )
    below = list(_below(read, kinds, step.key, input, f"{field}/input", folder=folder)) if name == "sub_run" else []
    yield from below
    if below:
        return
    found = list(shape.faults(kind.input, input))
    for fault in found:
        yield _error(step.key, "schema", fault.message, f"{field}/input{fault.field}", fault.hint)
    typed = None if found else _typed(kind, input)
    if typed is not None:
        for fault in (*kind.check(read, typed), *(() if folder is None else kind.check_in(folder, typed))):
            rule = "unknown_operation" if fault.field == "/operation" else "schema"
            yield _error(step.key, rule, fault.message, f"{field}/input{fault.field}", fault.hint)


def _below(
    read: Snapshot, kinds: Kinds, key: str, input: Mapping[str, Any], field: str, *, folder: Path | None
) -> Iterator[Finding]:
    """Yield what is wrong with the steps of a sub-run, which are as they are written: its turn comes too late."""
    given: Any = input.get("steps", [])
    try:
        if not isinstance(given, list):
            yield _error(key, "schema", "the steps of a sub-run stand here themselves", f"{field}/steps")
            return
        wrong = [
            _error(key, "schema", fault.message, fault.field, fault.hint)
            for index, each in enumerate(cast("Sequence[Any]", given))
            if isinstance(each, Mapping)
            for fault in shape.faults(StepSpec, cast("Mapping[str, Any]", each), f"{field}/steps/{index}")
        ]
        yield from wrong
        steps = [] if wrong else unfold(msgspec.convert(given, list[StepSpec]))
    except (msgspec.ValidationError, ReferenceFault) as error:
        yield _error(key, "schema", str(error), f"{field}/steps")
        return
    inputs: Any = input.get("inputs", {})
    named = cast("Mapping[str, Any]", inputs) if isinstance(inputs, Mapping) else None
    for finding in _findings(read, kinds, steps, named, folder=folder)[0]:
        place = finding.field if finding.field == "/folder" else f"{field}{finding.field or '/steps'}"
        yield msgspec.structs.replace(finding, step=key, field=place)


def _typed(kind: StepKind[Any], input: Mapping[str, Any]) -> Value | None:
    """Return an input as its kind takes it; None where a reference stands for a value of another type than text."""
    try:
        typed: Value = msgspec.convert(dict(input), kind.input)
    except msgspec.ValidationError:
        return None
    return typed


def _checked_step(read: Snapshot, kinds: Kinds, step: StepSpec) -> CheckedStep:
    kind = kinds.get(step.kind)
    typed = None if kind is None else _typed(kind, step.input)
    if kind is None or typed is None:
        return CheckedStep(key=step.key, safety=str(Safety.EXTERNAL), effect=None)
    try:
        effect = str(kind.effect(read, typed)) if isinstance(kind, WorkKind) else None
        return CheckedStep(key=step.key, safety=str(kind.safety(read, typed)), effect=effect)
    except Error:  # its operation is not there, which is a finding of its own
        return CheckedStep(key=step.key, safety=str(Safety.EXTERNAL), effect=None)


# -- secrets and approvals --------------------------------------------------------------------------------------------


def _secret_findings(read: Snapshot, field: str, key: str | None, value: Any) -> Iterator[Finding]:
    for found in clear.find(value):
        hint = "keep it in the vault and write secret://<name>/<field> here"
        message = f"{found.what} stands here in clear"
        yield _error(key, "secret", message, f"/{field}{found.pointer}", hint)
    if any(True for _ in clear.references(value)) and not read.offers("secrets.resolve"):
        yield _error(key, "secret_plugin", "no plugin keeps secrets", f"/{field}", "enable the plugin secrets")


def _unapproved(steps: Sequence[StepSpec], seen: Sequence[CheckedStep]) -> Iterator[Finding]:
    """Yield a warning for each step that leaves the machine, or spends, without a person having been asked before."""
    specs = {step.key: step for step in steps}
    asked: set[str] = set()
    for key in graph.order(steps):
        if any(need in asked or specs[need].kind == "approval" for need in specs[key].needs):
            asked.add(key)
    for step in seen:
        if step.safety == Safety.EXTERNAL and step.key not in asked:
            yield Finding(
                severity="warning",
                step=step.key,
                rule="spends_without_approval",
                message=f"{step.key} leaves this machine or spends money, and nobody is asked before",
                hint="put a step of kind approval before it, and add that to its needs",
            )
