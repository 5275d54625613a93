"""Every operation is a command: its options, its help, its answer, its errors."""

import json

import pytest

pytestmark = pytest.mark.alone


def answer(done):
    assert done.code == 0, done.err
    return json.loads(done.out)


def given(done) -> dict:
    return {name: value for name, value in answer(done).items() if value is not None}


def test_an_answer_in_a_pipe_is_the_daemons_json_and_nothing_else(run, client):
    done = run("probe", "echo", "hällo", "--count", "2")
    assert json.loads(done.out) == client.call("probe.echo", {"text": "hällo", "count": 2})
    assert (done.out.count("\n"), done.err) == (1, "")
    assert "hällo" in done.out


def test_texts_become_values_of_the_types_of_the_schema(run):
    done = run(
        "probe", "echo", "--text", "7", "--count", "7", "--ratio", "0.5", "--loud", "--level", "high",
        "--day", "2026-11-20", "--tags", "a", "--tags", "[b]", "--shapes", '{"name": "x"}',
        "--shapes", '[{"name": "y"}, {"name": "z"}]',
        "--extra", '{"a": [1]}', "--either", "3",
    )  # fmt: skip
    assert given(done) == {
        "text": "7", "count": 7, "ratio": 0.5, "loud": True, "level": "high", "day": "2026-11-20", "tags": ["a", "[b]"],
        "shapes": [{"name": "x", "size": 1}, {"name": "y", "size": 1}, {"name": "z", "size": 1}],
        "extra": {"a": [1]}, "either": 3,
    }  # fmt: skip


def test_a_file_is_named_from_the_current_folder_on_and_a_span_is_counted_out(run, tmp_path, monkeypatch):
    (tmp_path / "todo.md").write_text("# Todo\n\n- [ ] mow the lawn\n")
    monkeypatch.chdir(tmp_path)
    assert answer(run("planning", "import", "--path", "todo.md"))["created"] == 1
    listed = answer(run("planning", "tasks", "list"))["items"]
    task = next(each for each in listed if each["title"] == "mow the lawn")
    refused = run("planning", "tasks", "update", task["id"], "--estimate", "1h30m")
    assert (refused.code, "1h30m is 90 minutes: give 90" in refused.err) == (2, True)
    answer(run("planning", "export-file", "markdown", "out.md", "--yes"))
    assert "mow the lawn" in (tmp_path / "out.md").read_text()


def test_a_value_may_look_like_an_option(run):
    assert given(run("probe", "echo", "--text", "-x", "--no-loud"))["text"] == "-x"
    assert given(run("probe", "echo", "--text=--json"))["text"] == "--json"
    assert given(run("probe", "echo", "--text", "--yes"))["text"] == "--yes"
    assert given(run("probe", "echo", "--", "-x"))["text"] == "-x"
    assert given(run("probe", "echo", "- a list item"))["text"] == "- a list item"


def test_a_field_with_the_name_of_a_common_option_has_another(run):
    assert given(run("probe", "echo", "x", "--input-timeout", "7", "--timeout", "30"))["timeout"] == 7


def test_a_text_comes_from_a_file_or_from_standard_input(run, tmp_path):
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfline\r\n\xc3\xa4")
    assert given(run("probe", "echo", f"@{tmp_path}/text"))["text"] == "line\r\nä"
    assert given(run("probe", "echo", "-", stdin="ä\n".encode()))["text"] == "ä\n"
    assert given(run("probe", "echo", "@@home"))["text"] == "@home"
    (tmp_path / "shapes").write_text('[{"name": "x"}]')
    assert len(given(run("probe", "echo", "a", "--shapes", f"@{tmp_path}/shapes"))["shapes"]) == 1


def test_a_file_that_cannot_be_read_is_named(run, tmp_path):
    done = run("probe", "echo", f"@{tmp_path}/none")
    assert done.code == 2
    assert f"text: {tmp_path}/none cannot be read: No such file" in done.err
    assert "hint: write @@" in done.err
    (tmp_path / "bytes").write_bytes(b"\xff")
    assert "bytes is not UTF-8" in run("probe", "echo", f"@{tmp_path}/bytes").err


def test_a_list_of_texts_needs_no_option(run):
    assert [row["id"] for row in answer(run("probe", "rows", "a", "b"))] == ["a", "b"]
    assert [row["id"] for row in answer(run("probe", "rows", "--ids", "a", "--ids", "b"))] == ["a", "b"]


def test_all_faults_are_told_at_once(run):
    done = run("probe", "echo", "--count", "many", "--level", "huge")
    assert done.code == 2
    assert done.err.startswith("error: 3 things are wrong")
    assert [line.split(":")[0] for line in done.err.splitlines()[1:]] == ["  /count", "  /level", "  /text"]


def test_an_error_is_json_when_asked_for(run):
    done = run("probe", "echo", "x", "--count", "10", "--json")
    error = json.loads(done.err)
    assert (done.code, done.out, error["kind"], error["field"]) == (2, "", "invalid", "/count")


def test_a_field_given_twice_is_refused(run):
    done = run("probe", "echo", "a", "--text", "b")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: text is given twice")


def test_what_is_no_json_is_told_before_the_call(run):
    done = run("probe", "echo", "a", "--extra", "{a: 1}")
    assert done.code == 2
    assert "extra is JSON, and this is not" in done.err
    assert "field: /extra" in done.err


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["prob", "echo"], 3, "did you mean probe?"),
        (["probe", "ecko"], 3, "did you mean echo?"),
        (["statsu"], 3, "did you mean status"),
        (["notes", "xyzzy"], 3, "see coder-local notes --help"),
        (["probe", "echo", "--texd", "a"], 2, "did you mean --text"),
        (["probe", "echo", "a", "--lev", "low"], 2, "did you mean --level?"),
        (["probe", "echo", "a", "--quite"], 2, "did you mean --quiet?"),
        (["probe", "echo", "a", "--jumping"], 2, "see coder-local probe echo --help"),
        (["probe", "plan", "--span.likly", "3"], 2, "did you mean --span.likely"),
        (["events", "--since", "5"], 2, "give --cursor EPOCH:SEQ"),
        (["events", "-n", "5"], 2, "give --limit N"),
        (["probe", "echo", "a", "b"], 2, "see coder-local probe echo --help"),
        (["--jsno", "status"], 2, "did you mean --json?"),
        (["--timeout", "soon", "status"], 2, "see coder-local --help"),
    ],
)
def test_a_mistake_is_answered_with_what_could_be_meant(run, words, code, hint):
    done = run(*words)
    assert (done.code, done.out) == (code, "")
    assert f"hint: {hint}" in done.err


def test_the_help_of_an_operation_is_its_docstring_and_its_fields(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    done = run("probe", "echo", "--help")
    assert done.code == 0
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines[0] == "usage: coder-local probe echo [options] TEXT"
    assert "Return what was given." in lines
    assert "50%" in done.out
    assert "--count N How often, 100 % of the time. (1 to 9; default 1)" in lines
    assert "--level {low,middle,high} (default low)" in " ".join(lines)
    assert "--loud, --no-loud" in " ".join(lines)
    assert "--day YYYY-MM-DD" in lines
    assert "--tags TEXT (may be repeated)" in lines


@pytest.mark.parametrize("columns", ["1", "20", "400"])
def test_help_fits_any_terminal(run, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    for words in (["--help"], ["probe", "--help"], ["probe", "echo", "--help"], ["help"]):
        assert run(*words).code == 0


def test_an_object_is_given_by_its_members_or_by_the_one_that_it_needs(run):
    done = run(
        "probe", "plan", "--plan.span.likely", "5", "--plan.days", "2026-01-01", "--plan.days", "2026-01-02",
        "--plan.dropped", "--span", "120", "--lines", "buy milk", "--lines", '{"text": "b", "done": true}',
    )  # fmt: skip
    assert given(done) == {
        "plan": {"span": {"likely": 5, "high": None}, "days": ["2026-01-01", "2026-01-02"], "dropped": True},
        "span": {"likely": 120, "high": None},
        "lines": [{"text": "buy milk", "done": False}, {"text": "b", "done": True}],
    }
    same = run("call", "probe.plan", "plan.span.likely=5", "span.likely=120", "span.high=130", "lines=a", "lines=b")
    assert given(same)["span"] == {"likely": 120, "high": 130}
    assert [line["text"] for line in given(same)["lines"]] == ["a", "b"]


@pytest.mark.parametrize(
    "words",
    [
        ["probe", "plan", "--span", "1", "--span.likely", "2"],
        ["probe", "plan", "--plan.span", "1", "--plan.span.likely", "2"],
        ["call", "probe.plan", "span=1", "span.likely=2"],
    ],
)
def test_a_member_given_twice_is_refused(run, words):
    done = run(*words)
    assert (done.code, "is given twice" in done.err) == (2, True)


def test_the_help_of_an_object_lists_its_members(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    text = run("probe", "plan", "--help").out
    assert (
        "(members: likely N (required), high N; a plain value is its likely; also one by one: --span.likely N)" in text
    )
    assert "members: span {likely N (required), high N}, days [YYYY-MM-DD, ...], dropped yes|no; also one" in text
    assert "--lines TEXT" in text
    assert "members: text TEXT (required), done yes|no; a plain value is its text; may be repeated" in text


@pytest.mark.parametrize(
    "words",
    [
        ["A", "B", "blocks"],
        ["A", "blocks", "B"],
        ["--json", "A", "--quiet", "B", "--yes", "blocks"],
        ["A", "B", "--kind", "blocks"],
        ["--source", "A", "--target=B", "--kind", "blocks"],
    ],
)
def test_required_values_stand_in_their_order_wherever_options_are(run, words):
    assert answer(run("probe", "tie", *words)) == ["A", "blocks", "B", ""]


def test_a_choice_that_two_words_could_be_stays_where_it_is(run):
    assert answer(run("probe", "tie", "blocks", "relates", "blocks")) == ["blocks", "blocks", "relates", ""]
    assert "usage: coder-local probe tie [options] SOURCE TARGET KIND\n" in run("probe", "tie", "--help").out


def test_a_setting_is_set_and_a_list_is_filtered_without_options(run):
    assert answer(run("operations", "list", "probe.t"))["items"][0]["name"] == "probe.tie"
    previous = answer(run("settings", "set", "daemon", "log_level", "warning"))["previous"]
    assert answer(run("settings", "explain", "daemon", "log_level"))["value"] == "warning"
    assert answer(run("settings", "reset", "daemon", "log_level"))["setting"]["value"] == previous


def test_a_change_that_comes_too_late_is_told_what_was_changed_meanwhile(run, client):
    note = client.call("notes.create", {"workspace": "w", "title": "a", "body": "b"})
    client.call("notes.update", {"id": note["id"], "title": "new\x1b\ntitle"})
    client.call("notes.update", {"id": note["id"], "body": "c" * 500})
    done = run("notes", "update", note["id"], "--title", "mine", "--if-rev", "1")
    assert done.code == 5
    assert "its rev is 3 now, not 1; changed since, by user:\n" in done.err
    assert "\n  title: new\\u001b title\n" in done.err
    assert "…\nhint: look at the record again, then repeat the command with --if-rev 3\n" in done.err
    assert json.loads(run("notes", "update", note["id"], "--if-rev", "1", "--pinned", "--json").err)["data"]["current"]


def test_undo_takes_back_a_named_change(run, client):
    note = client.call("notes.create", {"workspace": "w", "title": "a"})
    client.call("notes.update", {"id": note["id"], "title": "b"})
    number = answer(run("changes", "list", "--limit", "1"))["items"][0]["change_set"]
    client.call("notes.update", {"id": note["id"], "pinned": True})
    assert answer(run("undo", str(number)))["change_set"] == number
    now = client.call("notes.get", {"id": note["id"]})
    assert (now["title"], now["pinned"]) == ("a", True)


def test_a_group_shows_what_is_in_it(run):
    done = run("probe", "--help")
    assert done.code == 0
    assert "  until-hanging    Wait until a call of `probe.hang` waits.\n" in done.out
    assert run("help", "probe").out == done.out
    missing = run("probe")
    assert (missing.code, missing.out, missing.err) == (2, "", done.out)
    assert "notes     " in run("help").out


def test_a_wire_name_is_a_command_too(run):
    assert given(run("probe.echo", "a"))["text"] == "a"
    assert "Return what was given" in run("help", "probe.echo").out


def test_a_stream_is_printed_item_by_item(run):
    assert run("probe", "count", "--to", "3").out == "0\n1\n2\n"
    assert run("call", "probe.count", "to=2").out == "0\n1\n"


def test_what_may_be_empty_can_be_emptied(run, client):
    note = client.call("notes.create", {"workspace": "w", "title": "a", "body": "b"})
    done = run("notes", "update", note["id"], "--body", "", "--pinned", "--if-rev", "1")
    assert (answer(done)["body"], answer(done)["pinned"]) == ("", True)
    stale = run("notes", "update", note["id"], "--title", "c", "--if-rev", "1")
    assert stale.code == 5


def test_undo_takes_back_the_last_change(run, client):
    note = client.call("notes.create", {"workspace": "w", "title": "a"})
    assert answer(run("notes", "update", note["id"], "--title", "b"))["title"] == "b"
    assert run("undo").code == 0
    assert client.call("notes.get", {"id": note["id"]})["title"] == "a"


def test_a_workspace_comes_from_the_environment(run, monkeypatch):
    monkeypatch.setenv("CODER_LOCAL_WORKSPACE", "elsewhere")
    assert answer(run("notes", "create", "--workspace", "w", "--title", "a"))["workspace_id"] == "elsewhere"


class TestConfirmation:
    """A destructive operation is not run unasked."""

    def test_without_a_person_it_is_refused_with_the_cure(self, run):
        done = run("probe", "erase", "x")
        assert (done.code, done.out) == (7, "")
        assert done.err.splitlines()[-1] == "hint: give --yes to confirm"

    def test_the_token_is_not_shown(self, run):
        error = json.loads(run("probe", "erase", "x", "--json").err)
        assert error["kind"] == "needs_confirmation"
        assert "data" not in error

    @pytest.mark.parametrize("words", [["--yes", "probe", "erase", "x"], ["call", "probe.erase", "id=x", "-y"]])
    def test_yes_confirms(self, run, words):
        assert answer(run(*words)) == "x is gone"


class TestCall:
    """`call` takes any operation by its wire name."""

    def test_values_are_typed_by_the_schema(self, run):
        done = run("call", "probe.echo", "text=7", "count=7", "tags=a", "tags=b", "loud=yes", "extra:={}", "either=x=y")
        assert given(done) == {
            "text": "7", "count": 7, "tags": ["a", "b"], "loud": True, "extra": {}, "either": "x=y", "level": "low",
        }  # fmt: skip

    def test_the_whole_input_is_json(self, run, tmp_path):
        whole = '{"text": "a", "count": 2}'
        (tmp_path / "input.json").write_text(whole)
        answers = [
            run("call", "probe.echo", whole),
            run("call", "probe.echo", f"@{tmp_path}/input.json"),
            run("call", "probe.echo", "-", stdin=whole.encode()),
        ]
        assert [given(done)["count"] for done in answers] == [2, 2, 2]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["text"], "'text' is not key=value"),
            (["text=a", "text=b"], "text is given twice"),
            (["tags:=[a"], "tags is not JSON"),
            (["{"], "the input is not JSON"),
            (["@"], "the file after @ cannot be read"),
        ],
    )
    def test_an_input_that_is_none_is_told(self, run, arguments, message):
        done = run("call", "probe.echo", *arguments)
        assert done.code == 2
        assert message in done.err

    def test_nothing_is_an_empty_input(self, run):
        empty = {"plan": None, "span": None, "lines": None}
        for words in ([], ["--json"], ["-"], ["{}"]):
            assert answer(run("call", "probe.plan", *words)) == empty
        assert answer(run("call", "--json", "probe.tie", "source=A", "--quiet", "target=B", "kind=blocks"))[0] == "A"

    def test_only_the_operation_is_missed(self, run):
        assert run("call").err.splitlines()[0] == "error: the following arguments are required: OPERATION"

    def test_input_that_is_no_object_is_told(self, run):
        assert "the input is a JSON object" in run("call", "probe.echo", "-", stdin=b"[1]").err

    def test_an_unknown_operation_is_answered_by_the_daemon(self, run):
        done = run("call", "probe.ecko", "text=a")
        assert (done.code, "hint: did you mean probe.echo?" in done.err) == (3, True)

    def test_a_call_past_its_time_limit_is_cancelled(self, run, client):
        assert run("call", "probe.hang", "--timeout", "0.1").code == 11
        client.call("probe.until_cancelled", timeout=10)
