"""The OpenAPI 3.1 document: every operation at its route."""

from __future__ import annotations

from typing import Any

from coder_local._registry.registry import Registry
from coder_local.api import Kind
from coder_local.api.errors import KINDS, Unauthenticated

from .jsonschema import REF, Schema
from .names import pascal
from .routes import Route, route_of
from .schemas import Model, OperationSchema, reached, resolved
from .shared import GENERATED, PROBLEM, Document, answers_record, info, marks, problem, spoken, tags

_PARAMETERS = "#/components/parameters/"
_HEADERS = {"if_rev": "IfMatch", "idempotency_key": "IdempotencyKey", "confirm": "Confirm"}
_BODY_TYPES = {"PATCH": ("application/merge-patch+json", "application/json")}
_EVERY_CALL = ("refused", "rate_limited", "broken")
_OF_COMMANDS = ("conflict", "stale", "needs_confirmation", "locked")
_OF_ACTIONS = ("needs_confirmation", "offline", "timeout", "unsupported")


def build(registry: Registry, model: Model | None = None) -> Document:
    """Return the document of all operations that are loaded; the same for the same registry."""
    model = model or Model(registry)
    paths: Document = {}
    routes = {name: route_of(operation.prepared) for name, operation in model.operations.items()}
    for name, operation in model.operations.items():
        route = routes[name]
        # What can be got under its own path is answered to its maker with that path.
        makes = route.method == "POST" and Route("GET", f"{route.path}/{{id}}", True) in routes.values()
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(operation, route, model, makes=makes)
    body: Document = {"paths": dict(sorted(paths.items())), "x-settings": model.settings}
    schemas = reached(body, model.components)
    return {
        "openapi": "3.1.0",
        "x-generated-by": GENERATED,
        "info": info(),
        "servers": [{"url": "/", "description": "The daemon itself, on loopback; `runtime.json` has its address."}],
        "security": [{"bearer": []}],
        "tags": tags(model),
        **body,
        "components": {
            "schemas": dict(sorted({**schemas, PROBLEM: _http_problem()}.items())),
            "parameters": _header_parameters(),
            "headers": {
                "ETag": {"description": "The record's `rev`, in quotation marks.", "schema": {"type": "string"}},
                "Location": {"description": "Path of the new record.", "schema": {"type": "string"}},
            },
            "responses": _error_responses(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "The token in `runtime.json`."}
            },
        },
    }


def _operation(operation: OperationSchema, route: Route, model: Model, *, makes: bool) -> Document:
    own = operation.own
    parameters: list[Document] = []
    if route.id_in_path:
        schema, doc = _split_description(own.pop("id"))
        parameters.append({"name": "id", "in": "path", "required": True, **doc, "schema": schema})
    has_body = route.method in {"POST", "PATCH"}
    if not has_body:
        parameters += [_query(name, schema, operation, model) for name, schema in own.items()]
    # If-Match holds the record named by `id` to its rev; without one it holds nothing.
    headers = [name for name in operation.envelope if name != "if_rev" or "id" in operation.own]
    parameters += [{"$ref": _PARAMETERS + _HEADERS[name]} for name in headers]
    if route.method == "GET" and answers_record(operation):
        parameters.append({"$ref": f"{_PARAMETERS}IfNoneMatch"})
    found: Document = {
        "operationId": operation.operation.name,
        "tags": [operation.operation.name.split(".", 1)[0]],
        **spoken(operation),
        **marks(operation),
    }
    if parameters:
        found["parameters"] = parameters
    if has_body and own:
        required = [name for name in operation.required if name in own]
        schema = {"type": "object", "properties": own, "required": required, "additionalProperties": False}
        types = _BODY_TYPES.get(route.method, ("application/json",))
        found["requestBody"] = {"required": bool(required), "content": {type_: {"schema": schema} for type_ in types}}
    found["responses"] = {
        **_answer(operation, route, makes=makes),
        **_errors(operation, takes=bool(own), about_one=route.id_in_path),
    }
    return found


def _query(name: str, schema: Schema, operation: OperationSchema, model: Model) -> Document:
    """Return a query parameter: scalars as text, lists by repeating the name, objects as JSON."""
    schema, doc = _split_description(_without_null(schema))
    head = {"name": name, "in": "query", "required": name in operation.required, **doc}
    if _is_object(schema, model):
        return {**head, "content": {"application/json": {"schema": schema}}}
    if schema.get("type") == "array" and _is_object(schema.get("items", {}), model):
        text = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema["items"]}
        return {**head, "schema": {**schema, "items": text}}
    return {**head, "schema": schema}


def _without_null(schema: Schema) -> Schema:
    """Return the schema of a value where leaving the parameter out says null."""
    if "anyOf" not in schema:
        return schema
    rest = [option for option in schema["anyOf"] if option != {"type": "null"}]
    beside = {word: value for word, value in schema.items() if word != "anyOf"}
    if "default" in beside and beside["default"] is None:
        del beside["default"]
    return {**rest[0], **beside} if len(rest) == 1 else {**beside, "anyOf": rest}


def _is_object(schema: Schema, model: Model) -> bool:
    schema = resolved(schema, model.components)
    options: list[Schema] = schema.get("anyOf", [])
    return schema.get("type") == "object" or any(_is_object(option, model) for option in options)


def _split_description(schema: Schema) -> tuple[Schema, Document]:
    """Return a parameter's schema and its description apart: for parameters readers look beside the schema."""
    bare = {word: value for word, value in schema.items() if word != "description"}
    return bare, {"description": schema["description"]} if "description" in schema else {}


def _answer(operation: OperationSchema, route: Route, *, makes: bool) -> Document:
    if operation.operation.kind is Kind.STREAM:
        return {
            "200": {
                "description": "Server-sent events: `item` with one item each, then `end`, or `error` with a problem.",
                "content": {"text/event-stream": {"schema": {"type": "string"}, "x-item-schema": operation.output}},
            }
        }
    good: Document = {"description": "The answer.", "content": {"application/json": {"schema": operation.output}}}
    if not answers_record(operation):
        return {"200": good}
    headers = ["ETag", "Location"] if makes else ["ETag"]
    good["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    if makes:
        return {"201": {**good, "description": "It was made."}}
    unchanged: Document = {"304": {"description": "It is as it was at that ETag."}} if route.method == "GET" else {}
    return {"200": good, **unchanged}


def _errors(operation: OperationSchema, *, takes: bool, about_one: bool) -> Document:
    kinds = [*_EVERY_CALL, *(["invalid"] if takes or about_one else []), *(["not_found"] if about_one else [])]
    if operation.operation.kind is Kind.COMMAND:
        kinds += _OF_COMMANDS
    elif operation.operation.kind is not Kind.QUERY:
        kinds += _OF_ACTIONS
    errors: Document = {"401": {"$ref": "#/components/responses/Unauthenticated"}}
    errors |= {str(KINDS[kind].code.http): {"$ref": f"#/components/responses/{pascal(kind)}"} for kind in kinds}
    return {**dict(sorted(errors.items())), "default": {"$ref": f"#/components/responses/{PROBLEM}"}}


def _error_responses() -> Document:
    content = {"application/problem+json": {"schema": {"$ref": REF + PROBLEM}}}
    errors = {pascal(kind): error.__doc__ for kind, error in KINDS.items()}
    errors |= {"Unauthenticated": Unauthenticated.__doc__, PROBLEM: "Any other error."}
    return {name: {"description": doc or name, "content": content} for name, doc in sorted(errors.items())}


def _http_problem() -> Schema:
    schema: dict[str, Any] = problem()
    text = {"type": "string"}
    http = {"type": text, "title": text, "status": {"type": "integer"}, "detail": text}
    schema["properties"] = {**http, **schema["properties"], "request_id": text}
    schema["required"] = [*http, *schema["required"]]
    return schema


def _header_parameters() -> Document:
    def header(name: str, description: str, limit: int) -> Document:
        return {
            "name": name,
            "in": "header",
            "required": False,
            "description": description,
            "schema": {"type": "string", "maxLength": limit},
        }

    return {
        "Confirm": header("X-Confirm", "The token of a `needs_confirmation` answer: single use, 10 minutes.", 100),
        "IdempotencyKey": header("Idempotency-Key", "The same key and input within 24 h get the first answer.", 200),
        "IfMatch": header("If-Match", "The record must have this ETag, else the answer is `stale`.", 40),
        "IfNoneMatch": header("If-None-Match", "Answer 304 if the record still has one of these ETags.", 4000),
    }
