"""The templates that plans are made from; imported when somebody makes one.

A template is a type: its fields are what it takes, and `steps` writes the plan. What it takes stands in the steps as it
is, so that who approves them reads exactly what will run.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from coder_local.api import Safety, Value
from coder_plugins.planning.plans.records import PlanStep

Program = Annotated[list[Annotated[str, Meta(max_length=10_000)]], Meta(min_length=1, max_length=1_000)]
"""A program and its arguments; no shell reads them."""
Path = Annotated[str, Meta(min_length=1, max_length=4_096)]
"""A file, from the folder of the plan on."""
Files = Annotated[list[Path], Meta(min_length=1, max_length=10_000)]


class Template(Value):
    """Something that makes steps of what it takes."""

    name: ClassVar[str]

    def steps(self) -> list[PlanStep]:
        """Return the steps."""
        raise NotImplementedError


class Edit(Value):
    """One exact text in a file, and what takes its place."""

    path: Path
    old: Annotated[str, Meta(min_length=1, max_length=1_000_000)]
    """It must be there exactly once."""
    new: Annotated[str, Meta(max_length=1_000_000)]


class Checks(Template):
    """Check a repository: lint and tests side by side, then a program for each file; then an approved edit and a ping.

    What is not given is left out. A person is asked before the edit and before the request.
    """

    name = "checks"

    lint: Program | None = None
    test: Program | None = None
    files: Files | None = None
    """Files that `check` is run for, side by side."""
    check: Program | None = None
    """The program that gets each of the files as its last argument."""
    edit: Edit | None = None
    ping: Annotated[str, Meta(min_length=8, max_length=8_192, pattern=r"^https?://")] | None = None
    """An address that must answer at the end."""

    def steps(self) -> list[PlanStep]:
        """Return the steps of what was given."""
        made = [_command(key, title, run) for key, title, run in self._programs() if run is not None]
        if self.files is not None and self.check is not None:
            each = [*self.check, "${{ item }}"]
            options = {"foreach": self.files}
            made.append(_command("files", "Check each file", each, needs=_keys(made), options=options))
        if self.edit is not None or self.ping is not None:
            shown = {"edit": self.edit and _edit(self.edit), "ping": self.ping}
            made.append(approval("approve", "May this be done?", shown=shown, needs=_last(made)))
        if self.edit is not None:
            step = PlanStep(
                key="edit",
                title=f"Edit {self.edit.path}"[:300],
                kind="file_edit",
                input=_edit(self.edit),
                needs=["approve"],
                safety=Safety.DESTRUCTIVE,
            )
            made.append(step)
        if self.ping is not None:
            step = PlanStep(
                key="ping",
                title="Ask the server",
                kind="http",
                input={"url": self.ping},
                needs=_last(made),
                safety=Safety.EXTERNAL,
            )
            made.append(step)
        return made

    def _programs(self) -> list[tuple[str, str, list[str] | None]]:
        return [("lint", "Lint", self.lint), ("test", "Test", self.test)]


class ReleaseNotes(Template):
    """Write the commits since a tag into a file, after a person has read them."""

    name = "release_notes"

    since: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^-]")]
    """The tag or commit of the release before; not an option of git, hence no `-` at its start."""
    version: Annotated[str, Meta(min_length=1, max_length=100)]
    path: Path = "RELEASE_NOTES.md"
    """The file that is written, whole."""

    def steps(self) -> list[PlanStep]:
        """Return the steps."""
        commits = "${{ steps.commits.output.stdout }}"
        log = ["git", "log", "--no-merges", "--format=- %s", f"{self.since}..HEAD"]
        written = {"path": self.path, "content": f"# {self.version}\n\n{commits}"}
        return [
            _command("commits", f"Collect the commits since {self.since}", log),
            approval("approve", f"Are these the notes of {self.version}?", shown=written, needs=["commits"]),
            PlanStep(
                key="write",
                title="Write the notes",
                kind="file_edit",
                input=written,
                needs=["commits", "approve"],
                safety=Safety.DESTRUCTIVE,
            ),
        ]


class Tidy(Template):
    """Run a formatter, then the tests, and commit the difference after a person has seen it."""

    name = "tidy"

    format: Program
    test: Program | None = None
    message: Annotated[str, Meta(min_length=1, max_length=300)] = "Tidy up"

    def steps(self) -> list[PlanStep]:
        """Return the steps."""
        made = [_command("format", "Format", self.format)]
        if self.test is not None:
            made.append(_command("test", "Test", self.test, needs=["format"]))
        made.append(_command("difference", "Show what changed", ["git", "diff", "--stat"], needs=_last(made)))
        shown = "${{ steps.difference.output.stdout }}"
        made.append(approval("approve", "Commit this?", shown=shown, needs=["difference"]))
        commit = ["git", "commit", "--all", f"--message={self.message}"]
        return [*made, _command("commit", "Commit", commit, needs=["approve"])]


TEMPLATES: dict[str, type[Template]] = {each.name: each for each in (Checks, ReleaseNotes, Tidy)}


def approval(key: str, prompt: str, *, shown: Any = None, needs: list[str] | None = None) -> PlanStep:
    """Return a step that asks a person."""
    given = {"prompt": prompt} if shown is None else {"prompt": prompt, "shown": shown}
    title = prompt.split("\n", 1)[0][:300]
    return PlanStep(key=key, title=title, kind="approval", input=given, needs=needs or [], safety=Safety.READ)


def _command(
    key: str, title: str, run: list[str], *, needs: list[str] | None = None, options: dict[str, Any] | None = None
) -> PlanStep:
    return PlanStep(
        key=key,
        title=title[:300],
        kind="command",
        input={"run": run},
        needs=needs or [],
        safety=Safety.DESTRUCTIVE,
        options=options or {},
    )


def _edit(edit: Edit) -> dict[str, Any]:
    return {"path": edit.path, "replace": [{"old": edit.old, "new": edit.new}]}


def _keys(steps: list[PlanStep]) -> list[str]:
    return [step.key for step in steps]


def _last(steps: list[PlanStep]) -> list[str]:
    """Return the keys of the steps that no other one needs yet."""
    needed = {need for step in steps for need in step.needs}
    return [step.key for step in steps if step.key not in needed]
