"""The catalogue of events: what may be said, and the data of each."""

from __future__ import annotations

from coder_local import __version__
from coder_local._registry.registry import Registry

from .jsonschema import Schema
from .schemas import Model, reached
from .shared import GENERATED, Document


def build(registry: Registry, model: Model | None = None) -> Document:
    """Return all types of events by name, those that every table says by itself among them."""
    model = model or Model(registry)
    events = {
        name: {
            "description": event.description,
            **({"record": event.record} if event.record else {}),
            "emitted_by": [name_ for name_, operation in model.operations.items() if name in operation.emits],
            "data": event.data,
        }
        for name, event in sorted(model.events.items())
    }
    return {
        "x-generated-by": GENERATED,
        "version": __version__,
        "envelope": _envelope(),
        "events": events,
        "components": {"schemas": reached(events, model.components)},
    }


def _envelope() -> Schema:
    return {
        "description": "CloudEvents 1.0 in JSON.",
        "type": "object",
        "properties": {
            "specversion": {"type": "string", "enum": ["1.0"]},
            "id": {"type": "string", "description": "`<epoch>:<seq>`; as a cursor it resumes after this event."},
            "source": {"type": "string"},
            "type": {"type": "string", "description": "One of the names under `events`."},
            "subject": {"type": "string", "description": "`<kind of record>/<id>`."},
            "time": {"type": "string", "format": "date-time"},
            "sequence": {"type": "integer", "description": "Grows by 1 or more with each event of one epoch."},
            "actor": {
                "type": "string",
                "description": "Who made it: `user`, `agent:<id>`, `plugin:<name>`, `peer:<id>`.",
            },
            "data": {"description": "The data of the type."},
        },
        "required": ["specversion", "id", "source", "type", "subject", "time", "sequence", "actor", "data"],
    }
