"""From a path to an operation: two dictionaries, made from the registry when it has changed."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from coder_local._contracts.routes import PREFIX, route
from coder_local._registry.registry import Prepared, Registry
from coder_local.api import Error, Invalid, NotFound, Record

from .query import QueryReader


class Target:
    """An operation as HTTP serves it; made ready at its first request."""

    def __init__(self, registry: Registry, name: str, collection: str | None) -> None:
        self._registry = registry
        self._reader: QueryReader | None = None
        self._record: bool | None = None
        self.name = name
        self.verb = name.rpartition(".")[2]
        self.collection = collection
        """Path of the records that it makes, if it makes one that can be got by its id."""
        operation = registry.declared(name)
        assert operation is not None  # noqa: S101 - the caller has it from the registry
        self.operation = operation

    @property
    def prepared(self) -> Prepared:
        """The operation, ready to be called. Raises `Unsupported` if its plugin was stopped meanwhile."""
        prepared = self._registry.find(self.name)
        if prepared is None:
            raise self._registry.unsupported(self.name)
        return prepared

    @property
    def reader(self) -> QueryReader:
        """What reads its query strings."""
        if self._reader is None:
            self._reader = QueryReader(self.prepared.signature)
        return self._reader

    @property
    def answers_record(self) -> bool:
        """Whether its answer is one record, whose `rev` is its ETag."""
        if self._record is None:
            result: Any = self.prepared.signature.result
            self._record = isinstance(result, type) and issubclass(result, Record)
        return self._record


class Found(NamedTuple):
    """What stands at a path."""

    methods: dict[str, Target]
    id: str | None


class Routes:
    """All operations by path."""

    def __init__(self, registry: Registry, fixed: tuple[str, ...]) -> None:
        self._registry = registry
        self._fixed = fixed
        self._generation = -1
        self._exact: dict[str, dict[str, Target]] = {}
        self._by_id: dict[tuple[str, str], dict[str, Target]] = {}

    def find(self, path: str) -> Found:
        """Return what stands at a path, which is taken as it was sent. Raises `NotFound` with the nearest path."""
        if self._generation != self._registry.generation:
            self._build()
        exact = self._exact.get(path)
        if exact is not None:
            return Found(exact, None)
        head, _, last = path.rpartition("/")
        if last:
            on_record = self._by_id.get((head, ""))
            if on_record is not None:
                return Found(on_record, _decode(last))
            collection, _, id_ = head.rpartition("/")
            verbs = self._by_id.get((collection, last)) if id_ else None
            if verbs is not None:
                return Found(verbs, _decode(id_))
        raise self._unknown(path)

    def _build(self) -> None:
        self._exact, self._by_id = {}, {}
        made: dict[str, str] = {}
        for name in self._registry.names():
            operation = self._registry.declared(name)
            assert operation is not None  # noqa: S101 - it was named by the registry
            at = route(operation)
            if at.method == "GET" and at.path.endswith("/{id}"):
                made[at.path.removesuffix("/{id}")] = name
        for name in self._registry.names():
            operation = self._registry.declared(name)
            assert operation is not None  # noqa: S101 - it was named by the registry
            method, path, id_in_path = route(operation)
            if id_in_path:
                collection, _, verb = path.partition("/{id}")
                places: dict[str, Target] = self._by_id.setdefault((collection, verb.removeprefix("/")), {})
            else:
                places = self._exact.setdefault(path, {})
            places[method] = Target(self._registry, name, path if name.endswith(".create") and path in made else None)
        self._generation = self._registry.generation

    def _unknown(self, path: str) -> Error:
        asked = path[:200]
        plugin = asked.removeprefix(PREFIX + "/").partition("/")[0]
        loaded = self._registry.plugins.get(plugin)
        if asked.startswith(PREFIX + "/") and loaded is not None and not loaded.loaded:
            return self._registry.unsupported(plugin)
        templates = [f"{head}/{{id}}" + (f"/{verb}" if verb else "") for head, verb in self._by_id]
        close = difflib.get_close_matches(asked, [*self._fixed, *self._exact, *templates], 1)
        hint = f"did you mean {close[0]}?" if close else "see /openapi.json for what there is"
        return NotFound(f"there is nothing at {asked!r}", hint=hint, data={"path": asked})


def _decode(segment: str) -> str:
    """Return an id of a path. It is cut out before it is decoded, so a `%2F` in it is never a new segment."""
    if "%" not in segment:
        return segment
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as error:
        raise Invalid("the id in the path is not UTF-8", field="/id") from error
