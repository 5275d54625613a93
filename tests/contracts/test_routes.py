"""Where operations answer over HTTP."""

import pytest

from coder_local._contracts.routes import route, route_of
from coder_local._registry.registry import Registry
from coder_local.api import Domain, Id, Snapshot, Transaction
from tests.contracts import runs

ROUTES = {
    "runs.list": ("GET", "/api/runs", False),
    "runs.create": ("POST", "/api/runs", False),
    "runs.get": ("GET", "/api/runs/{id}", True),
    "runs.update": ("PATCH", "/api/runs/{id}", True),
    "runs.delete": ("DELETE", "/api/runs/{id}", True),
    "runs.history": ("GET", "/api/runs/{id}/history", True),
    "runs.steps.retry": ("POST", "/api/runs/steps/{id}/retry", True),
    "runs.start": ("POST", "/api/runs/start", False),
    "runs.index": ("GET", "/api/runs/index", False),
    "runs.index.rebuild": ("POST", "/api/runs/index/rebuild", False),
    "runs.share": ("POST", "/api/runs/share", False),  # two words: a verb of the domain, not of one record
    "runs.status": ("GET", "/api/runs/status", False),
    "runs.plan": ("GET", "/api/runs/plan", False),
    "runs.follow": ("GET", "/api/runs/follow", False),
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return runs.registry()


def test_every_operation_is_in_the_table(registry: Registry) -> None:
    assert set(registry.names()) == set(ROUTES)


@pytest.mark.parametrize("name", ROUTES)
def test_the_route_of(registry: Registry, name: str) -> None:
    prepared = registry.find(name)
    assert prepared is not None
    assert tuple(route_of(prepared)) == ROUTES[name]
    assert route(prepared.operation) == route_of(prepared)


def test_verbs_without_a_record_and_records_without_a_verb() -> None:
    domain = Domain("odd")

    @domain.query("odd.things.get")
    def get_by_name(read: Snapshot, *, name: str) -> str:
        """Get by another key."""
        return name

    @domain.command("odd.things.update")
    def update_all(tx: Transaction) -> None:
        """Update all of them."""

    @domain.command("odd.things.list")
    def list_(tx: Transaction) -> None:
        """Write a list."""

    @domain.query("odd.things.look")
    def look(read: Snapshot, *, id: Id) -> str:
        """Look at one."""
        return id

    @domain.query("odd.things.peek")
    def peek(read: Snapshot, *, id: Id = "x") -> str:
        """Look at one, or at x."""
        return id

    routes = {name: tuple(route(operation)) for name, operation in domain.operations.items()}
    assert routes == {
        "odd.things.get": ("GET", "/api/odd/things/get", False),
        "odd.things.update": ("POST", "/api/odd/things/update", False),
        "odd.things.list": ("POST", "/api/odd/things/list", False),
        "odd.things.look": ("GET", "/api/odd/things/{id}/look", True),
        "odd.things.peek": ("GET", "/api/odd/things/peek", False),
    }
