"""Scoped tokens."""

import pytest

from coder_local._admission import tokens
from coder_local._admission.limits import Limits
from coder_local._registry.principal import OWNER
from coder_local._store.scope import Caller
from coder_local.api import Invalid, NotFound, RateLimited, Safety
from coder_local.api.errors import Unauthenticated


def make(kernel, **options):
    options.setdefault("name", "robot")
    return kernel.store.write(lambda scope: tokens.create(scope, **options))


def listed(kernel):
    return kernel.store.read(tokens.list_tokens, Caller())


def test_a_token_is_shown_once_and_kept_as_a_hash(kernel):
    made = make(kernel)
    assert made.token.startswith("clt_")
    assert len(made.token) == 47
    rows = kernel.store.writer.connection.execute("SELECT * FROM token").fetchall()
    assert made.token not in str(rows)
    assert made.token[4:] not in str(rows)
    assert [each.id for each in listed(kernel)] == [made.info.id]


def test_the_holder_is_who_the_grant_says(admission, kernel):
    made = make(kernel, scopes=[Safety.WRITE, Safety.READ], domains=["notes", "planning"])
    principal = admission.authenticate(made.token)
    assert (principal.actor, principal.owner, principal.token) == ("agent:robot", False, made.info.id)
    assert principal.scopes == {Safety.READ, Safety.WRITE}
    assert principal.domains == {"notes", "planning"}
    assert not principal.person


@pytest.mark.parametrize("name", ["a b/c", "Zoë", "x" * 100])
def test_the_actor_is_made_of_the_name(admission, kernel, name):
    assert admission.authenticate(make(kernel, name=name).token).actor.startswith("agent:")


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"name": " "}, {"/name"}),
        ({"name": "x" * 101, "scopes": []}, {"/name", "/scopes"}),
        ({"domains": ["notes", "No Such"]}, {"/domains/1"}),
        ({"actor": "root"}, {"/actor"}),
        ({"actor": "agent:a\nb"}, {"/actor"}),
    ],
)
def test_a_bad_grant_names_all_its_faults(kernel, options, fields):
    with pytest.raises(Invalid) as refused:
        make(kernel, **options)
    assert {fault["field"] for fault in refused.value.data["faults"]} == fields
    assert listed(kernel) == []


def test_a_revoked_token_is_worthless_at_once(admission, kernel):
    made = make(kernel)
    principal = admission.authenticate(made.token)
    assert admission.holds(principal)
    info = kernel.store.write(lambda scope: tokens.revoke(scope, made.info.id))
    assert info.revoked_at
    assert not admission.holds(principal)
    with pytest.raises(Unauthenticated):
        admission.authenticate(made.token)
    with pytest.raises(Unauthenticated):
        admission.limit(principal)
    assert kernel.store.write(lambda scope: tokens.revoke(scope, made.info.id)).revoked_at == info.revoked_at
    with pytest.raises(NotFound):
        kernel.store.write(lambda scope: tokens.revoke(scope, "nobody"))


@pytest.mark.parametrize("text", ["", "clt_", "clt_" + "A" * 43, "clt_\udcff", "clt_é", "clt_" + "x" * 10_000])
def test_what_is_no_token_is_nobody(admission, kernel, text):
    make(kernel)
    with pytest.raises(Unauthenticated):
        admission.authenticate(text)


def test_use_is_noted_now_and_then(admission, kernel):
    made = make(kernel)
    assert listed(kernel)[0].last_used_at is None
    admission.authenticate(made.token)
    first = listed(kernel)[0].last_used_at
    assert first == kernel.store.read(lambda scope: scope.now(), Caller())
    kernel.store.clock.advance(200)
    admission.authenticate(made.token)
    assert listed(kernel)[0].last_used_at == first
    kernel.store.clock.advance(200)
    admission.authenticate(made.token)
    assert listed(kernel)[0].last_used_at > first


def test_a_grant_may_set_its_own_limits(admission, kernel, now):
    made = make(kernel, scopes=[Safety.READ], limits=Limits(per_second=1, burst=2, per_window=3))
    principal = admission.authenticate(made.token)
    for _ in range(2):
        admission.limit(principal)
    with pytest.raises(RateLimited) as refused:
        admission.limit(principal)
    assert refused.value.data["retry_after_ms"] == 1000
    now.at += 10
    admission.limit(principal)
    with pytest.raises(RateLimited) as refused:
        admission.limit(principal)
    assert "15 minutes" in refused.value.message
    assert refused.value.data["retry_after_ms"] == 890_000
    for _ in range(5000):
        admission.limit(OWNER)


def test_two_tokens_do_not_share_a_limit(admission, kernel):
    one, two = (
        admission.authenticate(make(kernel, name=name, limits=Limits(per_second=1, burst=1)).token) for name in "ab"
    )
    admission.limit(one)
    admission.limit(two)
    with pytest.raises(RateLimited):
        admission.limit(one)
