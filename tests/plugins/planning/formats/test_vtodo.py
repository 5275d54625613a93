from __future__ import annotations

import subprocess
import sys

import pytest
from icalendar import Calendar
from msgspec.structs import replace

from coder_plugins.planning.formats import ForeignLink, ForeignTask, vtodo

from .examples import ROOT, example


def todo(*lines: str, uid: str = "a") -> str:
    return "\r\n".join(
        ["BEGIN:VCALENDAR", "VERSION:2.0", "BEGIN:VTODO", f"UID:{uid}", *lines, "END:VTODO", "END:VCALENDAR", ""]
    )


def components(text: str) -> list[list[str]]:
    """The sorted, unfolded lines of each VTODO."""
    blocks = text.replace("\r\n", "\n").replace("\n ", "").split("BEGIN:VTODO\n")[1:]
    return [sorted(block.split("END:VTODO")[0].split("\n")) for block in blocks]


def test_the_example_comes_back_equal() -> None:
    text = example("vtodo-small.ics")
    result = vtodo.parse(text)
    assert result.faults == []
    rendered = vtodo.render(result.tasks)
    assert components(rendered) == components(text)
    assert vtodo.parse(rendered) == result


def test_the_example_is_understood() -> None:
    paint, buy, carpet, bins, moved, wash = vtodo.parse(example("vtodo-small.ics")).tasks
    assert paint.description.endswith("and do not forget the back of the door.")
    assert (paint.priority, paint.due, paint.tags) == ("high", "2026-11-20", ("house", "paint, indoors", "weekend"))
    assert paint.unknown["X-COLOUR"] == ['X-COLOUR;SHADE="light;warm":white']
    assert buy.links == (ForeignLink("parent", "house-1"),)
    assert carpet.links == (ForeignLink("blocks", "house-1", inward=True), ForeignLink("relates", "house-4"))
    assert (bins.due, bins.recurrence) == ("2026-11-02T07:00:00[Europe/Berlin]", "FREQ=WEEKLY;BYDAY=MO")
    assert bins.links == (ForeignLink("parent", "house-5", inward=True),)
    assert moved.id == "house-4#20261109T070000"
    assert (wash.status, wash.due) == ("dropped", "2026-11-02T06:00:00.000Z")


def test_another_reader_understands_what_is_written() -> None:
    task = ForeignTask(id="a", title="ä, b; c\nd" * 20, due="2026-11-02T09:00:00[Europe/Berlin]", tags=("x,y", "z"))
    other = ForeignTask(id="b", title="B", links=(ForeignLink("blocks", "a"),))
    text = vtodo.render([task, other])
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    calendar = Calendar.from_ical(text)
    first, second = calendar.walk("VTODO")
    assert str(first["SUMMARY"]) == task.title
    assert first["DUE"].dt.isoformat() == "2026-11-02T09:00:00+01:00"
    assert [str(tag) for tag in first["CATEGORIES"].cats] == ["x,y", "z"]
    assert first["RELATED-TO"].params["RELTYPE"] == "DEPENDS-ON"
    assert str(first["RELATED-TO"]) == "b"
    assert "RELATED-TO" not in second
    assert [str(zone["TZID"]) for zone in calendar.walk("VTIMEZONE")] == ["Europe/Berlin"]


def test_a_change_leaves_the_rest_as_it_was() -> None:
    carpet = vtodo.parse(example("vtodo-small.ics")).tasks[2]
    changed = replace(carpet, status="done", links=(*carpet.links, ForeignLink("fixes", "x")))
    lines = components(vtodo.render([changed]))[0]
    assert "STATUS:COMPLETED" in lines
    assert [line for line in lines if line.startswith("RELATED-TO")] == [
        "RELATED-TO;RELTYPE=DEPENDS-ON;GAP=P1D:house-1",
        "RELATED-TO;RELTYPE=REFID:hall",
        "RELATED-TO;RELTYPE=SIBLING:house-4",
        "RELATED-TO;RELTYPE=X-FIXES:x",
    ]


@pytest.mark.parametrize(
    ("zone", "due"),
    [
        ("W. Europe Standard Time", "2026-11-02T09:00:00[Europe/Berlin]"),
        ("/vendor.example/Europe/Berlin", "2026-11-02T09:00:00[Europe/Berlin]"),
    ],
)
def test_zones_by_other_names(zone: str, due: str) -> None:
    text = todo("SUMMARY:A", f"DUE;TZID={zone}:20261102T090000")
    result = vtodo.parse(text)
    assert result.tasks[0].due == due
    assert f"DUE;TZID={zone}:20261102T090000" in vtodo.render(result.tasks)


def test_faults_name_the_line_the_component_begins_on() -> None:
    text = (
        "BEGIN:VCALENDAR\nthis is nothing\nBEGIN:VTODO\nSUMMARY:no uid\nEND:VTODO\n"
        "BEGIN:VTODO\nUID:a\nPRIORITY:high\nSTATUS:lost\n"
        "DUE:friday\nDTSTART;TZID=Mars/North:20261102T090000\nRRULE:FREQ=SOMETIMES\nCOMPLETED:20261399T000000Z\nEND:VTODO\n"
        "BEGIN:VTODO\nUID:b\nUID:c\nSUMMARY:x\nEND:VTODO\nEND:VCALENDAR\n"
    )
    result = vtodo.parse(text)
    assert result.tasks == []
    assert {(fault.line, fault.pointer) for fault in result.faults} == {
        (2, ""),
        (3, "/UID"),
        (6, "/SUMMARY"),
        (6, "/PRIORITY"),
        (6, "/STATUS"),
        (6, "/DUE"),
        (6, "/DTSTART"),
        (6, "/RRULE"),
        (6, "/COMPLETED"),
        (15, "/UID"),
    }


def test_components_that_do_not_close() -> None:
    assert [(fault.line, fault.hint) for fault in vtodo.parse("BEGIN:VCALENDAR\nBEGIN:VTODO\nUID:a\n").faults] == [
        (1, "add END:VCALENDAR"),
        (2, "add END:VTODO"),
    ]
    assert [fault.line for fault in vtodo.parse("BEGIN:VCALENDAR\nEND:VTODO\n").faults] == [2]
    assert vtodo.parse(todo("SUMMARY:a\0b")).faults[0].pointer == "/SUMMARY"
    assert vtodo.parse(todo("SUMMARY:" + "x" * 301)).faults[0].pointer == "/SUMMARY"


def test_importing_the_formats_does_not_import_the_calendar_library() -> None:
    code = "import sys; import coder_plugins.planning.formats; sys.exit('icalendar' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT / "plugins", check=False).returncode == 0
