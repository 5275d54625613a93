from __future__ import annotations

from msgspec.structs import replace

from coder_plugins.planning.formats import ForeignLink, ForeignTask, markdown

from .examples import ROOT, example


def parse(text: str) -> list[ForeignTask]:
    result = markdown.parse(text, source="todo.md")
    assert result.faults == []
    return result.tasks


def test_the_example_is_understood() -> None:
    tasks = markdown.parse(example("checklist-small.md"), source="docs/move.md").tasks
    by_title = {task.title: task for task in tasks}
    assert [task.status for task in tasks[:4]] == ["done", "doing", "todo", "dropped"]
    van = by_title["Find a van !high #van ~2h"]
    assert van.description == "Ask Ilse first, she knows the rental.\n\n- a small one is enough"
    assert by_title["Ask for the insurance"].links == (ForeignLink("parent", van.id),)
    assert by_title["Buy boxes"].links == (ForeignLink("parent", by_title["Pack the glasses"].id),)
    assert by_title["Buy boxes"].unknown["section"] == [[1, "Moving house"], [2, "Rooms"], [3, "Kitchen"]]
    assert "this is code, not a task" not in by_title
    books = [task.id for task in tasks if task.title == "Pack the books"]
    assert books[1] == f"{books[0]}-2"


def test_the_example_keeps_everything() -> None:
    result = markdown.parse(example("checklist-small.md"), source="docs/move.md")
    text = markdown.render(result.tasks)
    assert markdown.parse(text, source="docs/move.md") == result
    assert "<!--" not in text
    assert "   - [X] Collect newspapers\n2. [ ] Defrost the fridge due friday\n" in text


def test_reading_again_gives_the_same_ids_whatever_else_was_added() -> None:
    before = {task.title: task.id for task in parse("# A\n- [ ] one\n  - [ ] part\n- [ ] two\n")}
    after = {
        task.title: task.id for task in parse("New words.\n\n# A\n- [ ] zero\n- [x] one\n\n  - [ ] part\n* [ ] two\n")
    }
    assert before.items() <= after.items()
    moved = {task.title: task.id for task in parse("# B\n- [ ] one\n")}
    assert moved["one"] != before["one"]


def test_a_task_of_another_origin_carries_its_id() -> None:
    notes = "Text\n- [ ] no task\n\n```\nopen"
    tasks = [
        ForeignTask(id="PLAN-1 x>", title="One", project="Shop", status="review", description=notes),
        ForeignTask(id="PLAN-2", title="Two", links=(ForeignLink("parent", "PLAN-1 x>"),), project="Shop"),
    ]
    text = markdown.render(tasks)
    assert text.startswith("## Shop\n\n- [/] One <!-- id: PLAN-1%20x%3E -->\n  Text\n  - \\[ ] no task\n")
    first, second = parse(text)
    assert (first.id, first.description) == ("PLAN-1 x>", f"{notes}\n```")  # closed, else it would hide the next item
    assert (second.id, second.links) == ("PLAN-2", tasks[1].links)


def test_a_changed_title_keeps_its_id() -> None:
    task = parse("- [ ] one\n")[0]
    text = markdown.render([replace(task, title="uno")])
    assert text == f"- [ ] uno <!-- id: {task.id} -->\n"
    assert parse(text)[0].id == task.id


def test_parents_in_a_circle_are_written_once_each() -> None:
    tasks = [
        ForeignTask(id=a, title=a, links=(ForeignLink("parent", b),)) for a, b in (("a", "b"), ("b", "a"), ("c", "c"))
    ]
    assert sorted(task.id for task in parse(markdown.render(tasks))) == ["a", "b", "c"]


def test_windows_line_ends_tabs_and_paths() -> None:
    tasks = markdown.parse("- [ ] one\r\n\t- [x] two\r\n\t  note\r\n", source="docs\\todo.md").tasks
    assert [task.title for task in tasks] == ["one", "two"]
    assert tasks[1].links == (ForeignLink("parent", tasks[0].id),)
    assert tasks[1].description == "note"
    assert tasks[0].id.startswith("docs/todo.md#")


def test_what_only_looks_like_an_item_is_none() -> None:
    assert parse("- [link](x)\n- [x](y)\n[ ] no bullet\n-[ ] no blank\n- [12] a reference\n- [ x ] no\n") == []


def test_faults() -> None:
    text = "- [ ]\n- [ ] ok <!-- id: a -->\n- [ ] again <!-- id: a -->\n- [ ] " + "x" * 301 + "\n- [ ] a\0b\n"
    result = markdown.parse(text)
    assert [task.title for task in result.tasks] == ["ok"]
    assert [(fault.line, fault.pointer) for fault in result.faults] == [
        (1, "/title"),
        (3, "/id"),
        (4, "/title"),
        (5, "/title"),
    ]


def test_the_documents_of_this_repository_are_read_without_a_fault() -> None:
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        assert markdown.parse(path.read_text(encoding="utf-8"), source=path.name).faults == [], path
