"""The files of a new plugin, for `string.Template`: $name, $cls (of the record), $word (the record in event types)."""

PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "coder-local-$dashed"
version = "0.1.0"
description = "A plugin of coder-local."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["coder-local"]

[project.entry-points."coder_local.plugins"]
$name = "$name"

[tool.hatch.build.targets.wheel]
packages = ["$name"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]
"""

MANIFEST = """\
# Where this plugin runs, and what it may do there beyond its own domain. Who enables it grants exactly this.

isolation = "process"   # "in_process": in the daemon itself, where it may do whatever the person may

[permissions]
operations = []         # of other domains: "planning.tasks.create", or all of a group: "planning.tasks.*"
events = []             # "planning.task.*"
secrets = []            # that it names in what it calls, as behind secret://
hosts = []              # "api.example.org", "api.example.org:443"
commands = []           # "git"

[budgets]
memory_mb = 512
"""

README = """\
# $name

A plugin of coder-local: things to do, each with a title, that can be finished.

```
python -m pytest                      # its tests, in memory, without a daemon
coder-local plugins check $name       # what every plugin must keep

mkdir -p "<data dir>/plugins"         # try it on a running daemon, whose data dir `coder-local status` tells:
cp -r $name "<data dir>/plugins/"     # put the package into its plugin folder ...
coder-local plugins enable $name      # ... and let this exact content run; do both again after a change
coder-local $name create --title "Buy milk"
coder-local $name list
```

To give it to others, build it (`python -m build`): where it is installed beside coder-local, the daemon finds it by its
entry point, and runs it once the person has enabled it.

| file | holds |
|---|---|
| `$name/records.py` | what is kept and what is said |
| `$name/operations.py` | what may be asked, beyond the standard operations |
| `$name/plugin.toml` | where it runs, and what it may do there |
| `$name/migrations/` | how the tables came to be; a change of a record is one more file |
| `tests/test_$name.py` | how it is used |
"""

INIT = '''\
"""${title}: things to do, each with a title, that can be finished.

Nothing is erased by `delete`: it is marked, so that `undo` can bring it back.
"""

from . import operations as operations  # the import declares them
from .records import domain as domain
'''

RECORDS = '''\
"""What $name keeps and says."""

from coder_local.api import Domain, Event, Record, Title

domain = Domain("$name", version="0.1.0")


@domain.table("$name")
class $cls(Record):
    """One thing to do."""

    title: Title
    note: str = ""
    done: bool = False


standard = domain.standard(
    $cls,
    operations=("list", "get", "create", "update", "delete", "history"),
    filters=("done",),
    sort=("updated_at", "title"),
    search=("title", "note"),
)


@domain.event("$name.$word.finished")
class ${cls}Finished(Event):
    """It was finished."""

    $word: str
'''

OPERATIONS = '''\
"""What may be asked of $name, beyond the standard operations."""

from coder_local.api import Conflict, Snapshot, Transaction

from .records import $cls, ${cls}Finished, domain


@domain.query("$name.open")
def count_open(read: Snapshot) -> int:
    """Count what is not finished."""
    return len(read.select($cls, "done = 0"))


@domain.command("$name.finish", emits=${cls}Finished)
def finish(tx: Transaction, *, id: str) -> $cls:
    """Finish it. What is finished already answers `conflict`."""
    found = tx.get($cls, id)
    if found.done:
        raise Conflict("it is finished already", field="/id")
    found = tx.update(found, done=True)
    tx.emit(${cls}Finished($word=id))  # heard only if the transaction commits
    return found
'''

TEST = '''\
"""How $name is used, and what it promises."""

import pytest
from coder_local.api import Conflict
from coder_local.testing import sandbox
from coder_local.testing.conformance import PluginConformance

from $name import domain
from $name.operations import count_open, finish


class TestConformance(PluginConformance):
    plugin = domain


def test_what_is_finished_says_so_and_is_counted_no_more():
    with sandbox(domain) as box:
        made = box.call("$name.create", title="Buy milk")
        assert box.call("$name.open") == 1
        assert box.call("$name.finish", id=made["id"])["done"]
        assert box.call("$name.open") == 0
        assert box.events[-1].type == "$name.$word.finished"


def test_nothing_is_finished_twice():
    with sandbox(domain) as box:
        made = box.call("$name.create", title="Buy milk")
        with box.tx() as tx:
            finish(tx, id=made["id"])
        with pytest.raises(Conflict):
            box.call("$name.finish", id=made["id"])


def test_undo_brings_it_back():
    with sandbox(domain) as box:
        made = box.call("$name.create", title="Buy milk")
        box.call("$name.finish", id=made["id"])
        box.undo()
        assert count_open(box.snapshot()) == 1
'''
