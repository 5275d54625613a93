"""Who may call what."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_local._admission import tokens
from coder_local._admission.confirmation import digest
from coder_local._admission.limits import Limits
from coder_local._registry.dispatch import Call
from coder_local._registry.principal import OWNER, Principal
from coder_local.api import Domain, NeedsConfirmation, RateLimited, Refused, Safety, Snapshot, Transaction
from coder_local.api.errors import Unauthenticated

from .conftest import operation

AGENT = Principal(actor="agent:a", owner=False, scopes=frozenset({Safety.READ, Safety.WRITE}))
READ, WRITE, DESTROY, OUT = Safety.READ, Safety.WRITE, Safety.DESTRUCTIVE, Safety.EXTERNAL


def called(kernel, name, principal, /, **input):
    """Return the answer of a call, or raise its error."""
    ((body, error),) = answers(kernel, name, principal, json.dumps(input).encode())
    if error is not None:
        raise error
    return json.loads(body)


def answers(kernel, name, principal, raw):
    """Return all answers of a call in memory, where it is answered at once."""
    found = []
    kernel.dispatcher.start(Call(name, raw, principal, lambda body, error: found.append((body, error))))
    return found


def asked(admission, principal=OWNER, what=None, raw=b'{"id":"1"}', confirm=None):
    with pytest.raises(NeedsConfirmation) as question:
        admission.admit(principal, what or operation(DESTROY), raw, confirm)
    return question.value.data["confirm"]


def test_the_owner_reads_and_writes_freely(admission):
    for safety in (READ, WRITE):
        admission.admit(OWNER, operation(safety), b"{}", None)


@pytest.mark.parametrize(("safety", "allowed"), [(READ, True), (WRITE, True), (DESTROY, False), (OUT, False)])
def test_a_caller_may_what_its_scopes_name(admission, safety, allowed):
    if allowed:
        admission.admit(AGENT, operation(safety), b"{}", None)
        return
    with pytest.raises(Refused) as refused:
        admission.admit(AGENT, operation(safety), b"{}", None)
    assert refused.value.data == {"rule": "scope", "scope": str(safety)}
    assert "tokens.create" in refused.value.hint


def test_a_caller_may_speak_to_its_domains_alone(admission):
    agent = msgspec.structs.replace(AGENT, domains=frozenset({"notes"}))
    admission.admit(agent, operation(), b"{}", None)
    with pytest.raises(Refused) as refused:
        admission.admit(agent, operation(name="notebook.do"), b"{}", None)
    assert refused.value.data == {"rule": "domain", "domain": "notebook"}
    assert admission.may_hear(agent, "notes.note.created")
    assert not admission.may_hear(agent, "planning.task.created")
    assert not admission.may_hear(msgspec.structs.replace(AGENT, scopes=frozenset({WRITE})), "notes.note.created")


def test_what_is_for_a_person_is_refused_to_agents_whatever_their_grant(admission):
    what = operation(person_only=True)
    admission.admit(OWNER, what, b"{}", None)
    with pytest.raises(Refused) as refused:
        admission.admit(msgspec.structs.replace(AGENT, scopes=frozenset(Safety)), what, b"{}", None)
    assert refused.value.data["rule"] == "person_only"
    with pytest.raises(Refused):
        admission.admit(msgspec.structs.replace(OWNER, actor="plugin:x"), what, b"{}", None)


@pytest.mark.parametrize("safety", [DESTROY, OUT])
def test_danger_asks_once_for_exactly_this_call(admission, safety):
    what = operation(safety)
    confirm = asked(admission, what=what)
    admission.admit(OWNER, what, b'{"confirm":"%s", "id": "1"}' % confirm.encode(), confirm)
    asked(admission, what=what, confirm=confirm)


def test_a_confirmed_call_with_a_key_may_be_sent_again_as_it_was_until_its_time_is_over(admission, now):
    what, raw = operation(DESTROY), b'{"id":"1","idempotency_key":"k"}'
    confirm = asked(admission, what=what, raw=raw)
    for _ in range(3):
        admission.admit(OWNER, what, raw, confirm)
    asked(admission, what=what, raw=b'{"id":"1","idempotency_key":"l"}', confirm=confirm)
    confirm = asked(admission, what=what, raw=raw)
    admission.admit(OWNER, what, raw, confirm)
    now.at += 600
    asked(admission, what=what, raw=raw, confirm=confirm)


def test_a_confirmed_call_with_a_key_gets_its_first_answer_again(kernel, admission):
    domain, ran = Domain("probe"), []

    @domain.command("probe.wipe", safety=DESTROY)
    def wipe(tx: Transaction) -> int:
        """Lose something."""
        ran.append(1)
        return len(ran)

    kernel.take(domain)
    kernel.dispatcher.gate = admission
    input = {"idempotency_key": "k"}
    with pytest.raises(NeedsConfirmation) as question:
        called(kernel, "probe.wipe", OWNER, **input)
    input["confirm"] = question.value.data["confirm"]
    assert [called(kernel, "probe.wipe", OWNER, **input) for _ in range(3)] == [1, 1, 1]
    assert ran == [1]


@pytest.mark.parametrize(
    ("principal", "what", "raw"),
    [
        (msgspec.structs.replace(OWNER, actor="agent:b"), operation(DESTROY), b'{"id":"1"}'),
        (msgspec.structs.replace(OWNER, workspace="other"), operation(DESTROY), b'{"id":"1"}'),
        (msgspec.structs.replace(OWNER, token="t"), operation(DESTROY), b'{"id":"1"}'),
        (OWNER, operation(DESTROY, "notes.other"), b'{"id":"1"}'),
        (OWNER, operation(DESTROY), b'{"id":"2"}'),
        (OWNER, operation(DESTROY), b'{"id":"1","all":true}'),
    ],
)
def test_a_confirmation_of_another_call_confirms_nothing_and_is_spent(admission, kernel, principal, what, raw):
    confirm = asked(admission)
    asked(admission, principal, what, raw, confirm)
    asked(admission, confirm=confirm)


def test_a_confirmation_is_over_after_ten_minutes(admission, now):
    confirm = asked(admission)
    now.at += 599
    admission.admit(OWNER, operation(DESTROY), b'{"id":"1"}', confirm)
    confirm = asked(admission)
    now.at += 600
    asked(admission, confirm=confirm)


def test_open_questions_are_bounded(admission):
    first = asked(admission)
    for number in range(1000):
        asked(admission, raw=b'{"id":"%d"}' % number)
    assert len(admission._confirmations) == 1000
    asked(admission, confirm=first)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(
    st.dictionaries(st.text().filter(lambda name: name != "confirm"), JSON, max_size=6),
    st.text(max_size=50),
    st.randoms(),
)
def test_an_input_is_the_same_however_it_is_written_down(values, confirm, random):
    names = list(values)
    random.shuffle(names)
    other = json.dumps({"confirm": confirm} | {name: values[name] for name in names}, ensure_ascii=False, indent=1)
    try:
        raw = other.encode()
    except UnicodeEncodeError:
        return
    assert digest(json.dumps(values).encode()) == digest(raw)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=3), st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_other_inputs_have_other_digests(one, two):
    for each in (one, two):
        each.pop("confirm", None)
    written = [json.dumps(each, sort_keys=True) for each in (one, two)]
    same = digest(written[0].encode()) == digest(written[1].encode())
    assert same == (written[0] == written[1])


def test_a_call_inside_a_confirmed_action_is_not_asked_for_again(admission):
    inner = msgspec.structs.replace(OWNER, confirmed=frozenset({DESTROY}))
    admission.admit(inner, operation(DESTROY), b"{}", None)
    with pytest.raises(Refused) as refused:
        admission.admit(inner, operation(OUT), b"{}", None)
    assert refused.value.data["rule"] == "safety"


@pytest.mark.parametrize(
    ("name", "raw", "kind"),
    [
        ("nowhere.list", b"{}", "not_found"),
        ("probe.look", b'{"number": "x"}', "invalid"),
        ("probe.look", b"not JSON", "invalid"),
        ("other.look", b"{}", "refused"),
        ("probe.look", b'{"number": 1}', None),
    ],
)
def test_every_call_of_a_token_counts_whatever_comes_of_it(kernel, admission, name, raw, kind):
    for domain in (Domain("probe"), Domain("other")):

        @domain.query(f"{domain.name}.look", quick=True)
        def look(read: Snapshot, *, number: int = 1) -> int:
            """Look."""
            return number

        kernel.take(domain)
    kernel.dispatcher.gate = admission
    limits = Limits(per_second=1, burst=3)
    made = kernel.store.write(lambda tx: tokens.create(tx, name="bot", domains=["probe", "nowhere"], limits=limits))
    principal = admission.authenticate(made.token)
    assert kernel.dispatcher.at_once(name, raw, principal) is None  # left to `start`, which counts it once
    kinds = []
    for _ in range(5):
        ((_, error),) = answers(kernel, name, principal, raw)
        kinds.append(None if error is None else error.kind)
    assert kinds == [kind] * 3 + ["rate_limited"] * 2


# -- who --------------------------------------------------------------------------------------------------------------


def test_the_owners_token_is_the_owner(admission):
    assert admission.authenticate("owner's") is OWNER


def test_every_start_has_another_token(kernel):
    from coder_local._admission import Admission

    tokens = {Admission(kernel).owner_token for _ in range(10)}
    assert len(tokens) == 10
    assert min(map(len, tokens)) >= 43


def test_failures_are_limited_and_valid_tokens_are_not(admission, now):
    for _ in range(20):
        with pytest.raises(Unauthenticated):
            admission.authenticate("wrong")
    with pytest.raises(RateLimited) as refused:
        admission.authenticate("\udcff")
    assert refused.value.data["retry_after_ms"] == 100
    assert admission.authenticate("owner's") is OWNER
    now.at += 0.1
    with pytest.raises(Unauthenticated):
        admission.authenticate("wrong")
    with pytest.raises(RateLimited):
        admission.authenticate("wrong")
