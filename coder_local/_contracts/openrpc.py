"""The OpenRPC 1.3 document: every operation as a JSON-RPC method with parameters by name."""

from __future__ import annotations

from coder_local._registry.registry import Registry
from coder_local.api import Kind
from coder_local.api.errors import KINDS

from .jsonschema import REF
from .names import pascal
from .schemas import Model, OperationSchema, reached
from .shared import GENERATED, PROBLEM, Document, info, marks, problem, spoken


def build(registry: Registry, model: Model | None = None) -> Document:
    """Return the document of all operations that are loaded; the same for the same registry."""
    model = model or Model(registry)
    methods = [_method(operation) for operation in model.operations.values()]
    return {
        "openrpc": "1.3.2",
        "x-generated-by": GENERATED,
        "info": info(),
        "methods": methods,
        "components": {
            "schemas": dict(sorted({**reached(methods, model.components), PROBLEM: problem()}.items())),
            "errors": {pascal(kind): _error(kind) for kind in sorted(KINDS)},
        },
    }


def _method(operation: OperationSchema) -> Document:
    declared = operation.operation
    result: Document = {"name": "answer", "schema": operation.output}
    found: Document = {
        "name": declared.name,
        "tags": [{"name": declared.name.split(".", 1)[0]}],
        **spoken(operation),
        **marks(operation),
        "paramStructure": "by-name",
        "params": [
            {"name": name, "required": name in operation.required, "schema": schema}
            for name, schema in operation.input["properties"].items()
        ],
        "result": result,
        "errors": [{"$ref": f"#/components/errors/{pascal(kind)}"} for kind in sorted(KINDS)],
    }
    if declared.kind is Kind.STREAM:
        # The items come as `$/item` notifications; the call itself answers null when they end.
        found["x-item"] = result["schema"]
        found["result"] = {"name": "end", "schema": {"type": "null"}}
    return found


def _error(kind: str) -> Document:
    error = KINDS[kind]
    return {"code": error.code.rpc, "message": error.__doc__ or kind, "data": {"$ref": REF + PROBLEM}}
