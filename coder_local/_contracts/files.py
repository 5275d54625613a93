"""All documents as texts, under the paths at which they are committed."""

from __future__ import annotations

import json

from coder_local._registry.registry import Registry
from coder_local.api import DeclarationError

from . import events, mcp, openapi, openrpc, sql, typescript
from .schemas import Model
from .shared import Document

OPENAPI = "schema/openapi.json"
OPENRPC = "schema/openrpc.json"
EVENTS = "schema/events.json"
MCP = "schema/mcp-tools.json"
TABLES = "schema/tables.sql"
TYPESCRIPT = "ipc/node/src/generated/operations.ts"


def render(registry: Registry) -> dict[str, str]:
    """Return the text of every document by its path; byte for byte the same for the same declarations.

    Raises `DeclarationError` for operations whose types cannot be read.
    """
    model = Model(registry)
    if model.left_out:
        raise DeclarationError("; ".join(f"{name}: {reason}" for name, reason in sorted(model.left_out.items())))
    return {
        OPENAPI: _json(openapi.build(registry, model)),
        OPENRPC: _json(openrpc.build(registry, model)),
        EVENTS: _json(events.build(registry, model)),
        MCP: _json(mcp.build(registry, model)),
        TABLES: sql.build(registry),
        TYPESCRIPT: typescript.build(registry, model),
    }


def _json(document: Document) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
