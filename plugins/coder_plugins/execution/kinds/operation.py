"""Steps of kind `operation`: any operation of the daemon, with the rights of whoever started the run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coder_local.api import Effect, Error, Fault, Kind, Refused, Safety, Snapshot, StepRun, WorkKind
from coder_plugins.execution.rules.references import find

from .records import OperationInput


class OperationKind(WorkKind[OperationInput]):
    """Run an operation of the daemon; a command and its result are one commit."""

    name = "operation"
    input = OperationInput

    def safety(self, read: Snapshot, input: OperationInput, /) -> Safety:
        return read.operation(input.operation).safety

    def effect(self, read: Snapshot, input: OperationInput, /) -> Effect:
        operation = read.operation(input.operation)
        if operation.person_only:  # the last gate: a run speaks with a person's name, and is none
            raise Refused(f"{input.operation} is for a person, not for a step of a run", data={"rule": "person_only"})
        if operation.kind is Kind.COMMAND:
            return Effect.TRANSACTIONAL
        return Effect.REPEATABLE if operation.safety is Safety.READ else Effect.ONCE

    def check(self, read: Snapshot, input: OperationInput, /) -> Iterable[Fault]:
        try:
            operation = read.operation(input.operation)
        except Error as error:
            yield Fault("/operation", error.message, error.hint)
            return
        if operation.kind is Kind.STREAM:
            yield Fault("/operation", f"{input.operation} is a stream, which has no end of its own", None)
            return
        if operation.person_only:
            hint = "put a step of kind approval there, and let the person do it"
            yield Fault("/operation", f"{input.operation} is for a person, not for a step of a run", hint)
        referring = {place.pointer.split("/")[1] for place in find(input.input)}
        given = {name: value for name, value in input.input.items() if name not in referring}
        for fault in read.check(input.operation, given):
            if fault.field.split("/")[1] not in referring:
                yield Fault(f"/input{fault.field}", fault.message, fault.hint)

    async def run(self, step: StepRun, input: OperationInput, /) -> Any:
        name: Any = input.operation
        return await step.call(name, **input.input)
