"""Operations as REST."""

import asyncio
from urllib.parse import urlencode

import pytest

from . import workshop


async def make(http, **fields):
    status, note, headers = await http.ask("POST", "/api/notes", {"workspace": "w", "title": "a", **fields})
    assert status == 201, note
    return note, headers


async def test_a_created_record_answers_201_with_its_place_and_etag(http):
    note, headers = await make(http)
    assert headers["Location"] == f"/api/notes/{note['id']}"
    assert headers["ETag"] == '"1"'
    status, found, headers = await http.ask("GET", headers["Location"])
    assert (status, found, headers["ETag"]) == (200, note, '"1"')
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"


async def test_a_known_etag_answers_304_without_a_body(http):
    note, _ = await make(http)
    for tag in ('"1"', 'W/"1"', '"7", "1"', "*"):
        status, body, headers = await http.ask("GET", f"/api/notes/{note['id']}", If_None_Match=tag)
        assert (status, body, headers["ETag"]) == (304, b"", '"1"'), tag
    status, _, _ = await http.ask("GET", f"/api/notes/{note['id']}", If_None_Match='"2"')
    assert status == 200


async def test_head_answers_as_get_without_the_body(http):
    note, _ = await make(http)
    status, body, headers = await http.ask("HEAD", f"/api/notes/{note['id']}")
    got, got_body, _ = await http.ask("GET", f"/api/notes/{note['id']}")
    assert (status, body, got) == (200, b"", 200)
    assert headers["ETag"] == '"1"'
    assert int(headers["Content-Length"]) > 100
    assert got_body["id"] == note["id"]


async def test_if_match_holds_a_change_to_a_rev(http):
    note, _ = await make(http)
    path = f"/api/notes/{note['id']}"
    status, changed, headers = await http.ask("PATCH", path, {"title": "b"}, If_Match='"1"')
    assert (status, changed["rev"], headers["ETag"]) == (200, 2, '"2"')
    status, problem, _ = await http.ask("PATCH", path, {"title": "c"}, If_Match='"1"')
    assert (status, problem["kind"], problem["data"]["current"]["rev"]) == (412, "stale", 2)
    status, _, _ = await http.ask("PATCH", path, {"title": "c"}, If_Match="*")
    assert status == 200
    status, problem, _ = await http.ask("PATCH", path, {"title": "c"}, If_Match='W/"3"')
    assert (status, problem["field"]) == (422, "/if_rev")
    status, problem, _ = await http.ask("PATCH", path, {"title": "c", "if_rev": 2}, If_Match='"3"')
    assert (status, problem["field"]) == (422, "/if_rev")
    status, deleted, _ = await http.ask("DELETE", path, If_Match='"3"')
    assert status == 200
    assert deleted["deleted_at"]
    status, problem, _ = await http.ask("GET", path)
    assert (status, problem["kind"]) == (404, "not_found")


async def test_a_patch_merges_objects_and_null_takes_members_away(http):
    note, _ = await make(http, meta={"a": 1, "b": {"c": 2, "d": 3}})
    patch = {"meta": {"a": None, "b": {"c": 4}, "e": 5}, "title": "new"}
    status, changed, _ = await http.ask("PATCH", f"/api/notes/{note['id']}", patch)
    assert (status, changed["title"]) == (200, "new")
    assert changed["meta"] == {"b": {"c": 4, "d": 3}, "e": 5}


async def test_patches_of_different_members_at_the_same_time_all_arrive(http):
    note, _ = await make(http)
    path = f"/api/notes/{note['id']}"
    answers = await asyncio.gather(*(http.ask("PATCH", path, {"meta": {f"m{n}": {"n": n}}}) for n in range(3)))
    assert [status for status, _, _ in answers] == [200] * 3
    _, found, _ = await http.ask("GET", path)
    assert found["meta"] == {f"m{n}": {"n": n} for n in range(3)}


async def test_a_verb_on_a_record_has_the_id_in_the_path(http):
    _, part, headers = await http.ask("POST", "/api/workshop/parts", {"title": "screw", "count": 5})
    assert headers["Location"] == f"/api/workshop/parts/{part['id']}"
    status, used, _ = await http.ask("POST", f"/api/workshop/parts/{part['id']}/use", {"count": 2})
    assert (status, used["count"]) == (200, 3)
    status, used, _ = await http.ask("POST", f"/api/workshop/parts/{part['id']}/use", If_Match='"2"')
    assert (status, used["count"]) == (200, 2)
    status, left, _ = await http.ask("GET", f"/api/workshop/parts/{part['id']}/rest?unit=box")
    assert (status, left) == (200, "2 box")
    status, page, _ = await http.ask("GET", f"/api/workshop/parts/{part['id']}/history")
    assert [item["rev"] for item in page["items"]] == [3, 2, 1]
    status, problem, _ = await http.ask("POST", f"/api/workshop/parts/{part['id']}/use", {"id": "other"})
    assert (status, problem["field"]) == (422, "/id")


async def test_the_history_of_a_record_of_the_domains_own_name_is_below_it(http):
    note, _ = await make(http)
    status, page, _ = await http.ask("GET", f"/api/notes/{note['id']}/history?limit=1")
    assert (status, len(page["items"])) == (200, 1)


async def test_query_strings_become_typed_input(http):
    pairs = [("words", "a"), ("words", "b c"), ("most", "7"), ("exact", "true"), ("wish", '{"word":"w"}')]
    query = urlencode([*pairs, ("wishes", '{"word":"v"}'), ("free", '{"x":1}')])
    status, found, _ = await http.ask("GET", f"/api/workshop/find?{query}")
    assert status == 200
    assert found == {
        "words": ["a", "b c"],
        "most": 7,
        "exact": True,
        "wish": {"word": "w", "most": 1},
        "wishes": [{"word": "v", "most": 1}],
        "free": {"x": 1},
    }


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("most=many", {"/most"}),
        ("most=1&most=2", {"/most"}),
        ("wish=%7B", {"/wish"}),
        ("wish=%7B%22word%22%3ANaN%7D", {"/wish"}),
        ("mots=1&exat=true", {"/mots", "/exat"}),
        ("words=%00", {"/words/0"}),
        ("most=%FF", {""}),
        ("&".join(f"a{n}=1" for n in range(1001)), {""}),
    ],
)
async def test_a_bad_query_string_names_all_its_faults(http, query, fields):
    status, problem, _ = await http.ask("GET", f"/api/workshop/find?{query}")
    assert (status, problem["kind"]) == (422, "invalid")
    faults = problem.get("data", {}).get("faults", [])
    assert {fault["field"] for fault in faults} == fields - {""}


async def test_a_did_you_mean_for_a_misspelt_query_field(http):
    _, problem, _ = await http.ask("GET", "/api/notes?limt=3")
    assert problem["hint"] == "did you mean limit?"


async def test_lists_page_and_filter(http):
    for title in "abc":
        await make(http, title=title, pinned=title == "b")
    _, page, _ = await http.ask("GET", "/api/notes?limit=2&sort=-title")
    assert [note["title"] for note in page["items"]] == ["c", "b"]
    _, page, _ = await http.ask("GET", f"/api/notes?limit=2&sort=-title&cursor={page['next_cursor']}")
    assert [note["title"] for note in page["items"]] == ["a"]
    _, page, _ = await http.ask("GET", "/api/notes?pinned=true")
    assert [note["title"] for note in page["items"]] == ["b"]


async def test_an_idempotency_key_gets_the_first_answer(http):
    body = {"workspace": "w", "title": "once"}
    _, first, _ = await http.ask("POST", "/api/notes", body, Idempotency_Key="k")
    _, second, _ = await http.ask("POST", "/api/notes", body, Idempotency_Key="k")
    assert first == second
    status, problem, _ = await http.ask("POST", "/api/notes", body | {"title": "other"}, Idempotency_Key="k")
    assert (status, problem["kind"]) == (409, "conflict")
    status, problem, _ = await http.ask("POST", "/api/workshop/post", {"to": "x"}, Idempotency_Key="k")
    assert (status, problem["field"]) == (422, "/idempotency_key")


async def test_a_confirmation_is_asked_for_and_taken_once(http):
    for path in ("/api/workshop/burn", "/api/workshop/clear"):
        status, problem, _ = await http.ask("POST", path, {"what": "letters"})
        assert (status, problem["kind"]) == (428, "needs_confirmation")
        confirm = problem["data"]["confirm"]
        status, answer, _ = await http.ask("POST", path, {"what": "letters"}, X_Confirm=confirm)
        assert (status, answer) == (200, "burnt letters")
        status, _, _ = await http.ask("POST", path, {"what": "letters"}, X_Confirm=confirm)
        assert status == 428


async def test_a_mildly_declared_action_cannot_call_a_destructive_operation(http):
    status, problem, _ = await http.ask("POST", "/api/workshop/sly", {"what": "letters"})
    assert (status, problem["kind"], problem["data"]["rule"]) == (403, "refused", "safety")


async def test_an_unknown_path_names_the_nearest(http):
    status, problem, _ = await http.ask("GET", "/api/note")
    assert (status, problem["kind"], problem["hint"]) == (404, "not_found", "did you mean /api/notes?")
    status, problem, _ = await http.ask("GET", "/healht")
    assert (status, problem["hint"]) == (404, "did you mean /health?")
    assert (await http.ask("GET", "/api/notes/"))[0] == 404


async def test_a_wrong_method_names_the_right_ones(http):
    for path, allowed in (
        ("/api/notes", "GET, HEAD, OPTIONS, POST"),
        ("/api/notes/pin", "OPTIONS, POST"),
        ("/api/notes/0193", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/health", "GET, HEAD, OPTIONS"),
    ):
        status, problem, headers = await http.ask("PUT", path)
        assert (status, headers["Allow"], problem["kind"]) == (405, allowed, "invalid")
        status, _, headers = await http.ask("OPTIONS", path)
        assert (status, headers["Allow"]) == (204, allowed)


async def test_a_request_id_is_taken_over_or_made(http):
    _, _, headers = await http.ask("GET", "/live", X_Request_Id="my-id.1")
    assert headers["X-Request-Id"] == "my-id.1"
    _, problem, headers = await http.ask("GET", "/nowhere", X_Request_Id="no spaces allowed")
    assert headers["X-Request-Id"] == problem["request_id"] != "no spaces allowed"
    assert len(problem["request_id"]) == 32


async def test_a_fault_of_a_plugin_shows_a_report_and_no_stack(http, caplog):
    status, problem, _ = await http.ask("GET", "/api/workshop/fail")
    assert (status, problem["kind"]) == (500, "broken")
    assert "secret" not in str(problem)
    assert problem["data"]["report_id"] in [
        record.report_id for record in caplog.records if hasattr(record, "report_id")
    ]


async def test_an_action_ends_when_its_caller_leaves(http):
    workshop.began.clear()
    asking = asyncio.ensure_future(http.ask("POST", "/api/workshop/wait", {"name": "left"}))
    await workshop.began.wait()
    asking.cancel()
    async with asyncio.timeout(5):
        while "left" not in workshop.stopped:
            await asyncio.sleep(0)


async def test_a_stopped_plugin_says_why_and_what_to_do(http):
    from coder_local._registry.plugins import Status

    http.kernel.registry.stop(http.kernel.registry.plugins["notes"], Status.STOPPED_BY_START_ERROR, "it fell over")
    status, problem, _ = await http.ask("GET", "/api/notes")
    assert (status, problem["kind"]) == (501, "unsupported")
    assert "it fell over" in problem["message"]
    assert problem["hint"] == "mend what stopped it, then start the daemon again"
    _, body, _ = await http.ask("GET", "/health")
    assert body["status"] == "degraded"
    assert body["dependencies"] == {"database": "connected", "notes": "stopped_by_start_error", "workshop": "loaded"}


async def test_health_ready_live_services_and_openapi(http):
    status, body, _ = await http.ask("GET", "/health")
    assert status == 200
    assert body == {
        "status": "healthy",
        "service": "coder-local",
        "version": body["version"],
        "uptime": 0,
        "dependencies": {"database": "connected", "notes": "loaded", "workshop": "loaded"},
        "at_work": {},
        "migrating": None,
    }
    assert (await http.ask("GET", "/ready"))[:2] == (200, {"status": "ready", "reasons": [], "migrating": None})
    assert (await http.ask("GET", "/live"))[:2] == (200, {"status": "live"})
    _, body, _ = await http.ask("GET", "/api/services")
    notes = next(item for item in body["items"] if item["name"] == "notes")
    assert (notes["version"], notes["status"], notes["reason"], notes["depends_on"]) == ("1.0.0", "loaded", None, [])
    assert "notes.pin" in notes["operations"]
    status, document, _ = await http.ask("GET", "/openapi.json")
    assert (status, document["openapi"][:3]) == (200, "3.1")
    assert "post" in document["paths"]["/api/workshop/parts/{id}/use"]


async def test_a_damaged_database_is_unhealthy_and_not_ready(http):
    http.kernel.store.note_damage(OSError("a page is damaged"))
    status, body, _ = await http.ask("GET", "/health")
    assert (status, body["status"], body["dependencies"]["database"]) == (503, "unhealthy", "damaged")
    status, body, _ = await http.ask("GET", "/ready")
    assert (status, body["reasons"]) == (503, ["the database is damaged"])


async def test_every_path_that_openapi_names_is_served(http):
    """An error of any operation has one shape, wherever it comes from."""
    _, document, _ = await http.ask("GET", "/openapi.json")
    seen = 0
    for template, methods in document["paths"].items():
        if not template.startswith("/api/") or template == "/api/services":
            continue
        for method in methods:
            if method not in {"get", "post", "patch", "delete"}:
                continue
            path = template.replace("{id}", "nobody") + ("?nonsense=1" if method == "get" else "")
            body = None if method in {"get", "delete"} else {"nonsense": 1}
            status, problem, headers = await http.ask(method.upper(), path, body)
            assert 400 <= status < 500, (method, path, problem)
            assert headers["Content-Type"] == "application/problem+json"
            assert {"type", "title", "status", "detail", "kind", "message", "request_id"} <= problem.keys()
            assert problem["status"] == status
            assert problem["type"] == f"urn:coder-local:error:{problem['kind']}"
            assert problem["detail"] == problem["message"]
            seen += 1
    assert seen >= 20


async def test_a_request_is_about_the_workspace_of_its_header(http):
    made = {}
    for name in ("default", "garden.2"):
        headers = {} if name == "default" else {"Workspace": name}
        _, made[name], _ = await http.ask("POST", "/api/workshop/parts", {"title": name}, **headers)
    assert {name: part["workspace_id"] for name, part in made.items()} == {name: name for name in made}
    _, listed, _ = await http.ask("GET", "/api/workshop/parts", Workspace="garden.2")
    assert [part["title"] for part in listed["items"]] == ["garden.2"]
    _, listed, _ = await http.ask("GET", "/api/workshop/parts")
    assert [part["title"] for part in listed["items"]] == ["default"]


async def test_a_workspace_gives_no_right(http):
    token = (await http.new_token(name="reader", scopes=["read"])).token
    status, problem, _ = await http.ask("POST", "/api/workshop/parts", {"title": "a"}, token=token, Workspace="mine")
    assert (status, problem["kind"]) == (403, "refused")


async def test_a_workspace_with_a_bad_name_is_refused(http):
    for name in ("", "a b", "x" * 201, "../up"):
        status, problem, _ = await http.ask("GET", "/api/workshop/parts", Workspace=name)
        assert (status, problem["kind"]) == (422, "invalid"), name
