"""Names of the schemas that are shared: a class's own name, with its domain's word before it where it is not free.

One naming serves all documents, so that a name in the OpenAPI document is the same in the TypeScript client.
"""

from __future__ import annotations

import re
import sys
import types
from collections import defaultdict
from collections.abc import Iterable, Iterator, Set
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from coder_local._registry.registry import Registry

from . import docs

Words = tuple[Any, ...]
"""The values of a `Literal`."""

_EXPORTED = """
ActionOptions Api Arguments CallName CallOptions Client CoderLocalClient CommandOptions ConnectOptions
ConnectionState Cursor Duration ErrorDetails EventEnvelope EventHandler EventMatching EventOf EventPattern
EventSubscriptions EventType Events Farewell Fault Instant Invoke KnownEvent LocalDate NoInput Open
OperationKind OperationName Operations Page Progress RecordChanged Reset RuntimeInfo ServerInfo StreamName
StreamOptions SubscribeOptions Subscription UnknownEvent Array Boolean Buffer Date Error Event Function JSON Map
Math Number Object Promise Proxy Record RegExp Request Response Set String Symbol URL
"""
RESERVED = frozenset(_EXPORTED.split())
"""What the hand-written part of the TypeScript client exports, and the globals that a type must not hide."""
_CORE = "coder_local."


class Alias(NamedTuple):
    """A type alias of a `Literal`, found again in the module that declares it."""

    module: str
    name: str
    words: Words

    @property
    def doc(self) -> str:
        """What the source says about it."""
        return docs.of_alias(self.module, self.name)


def pascal(text: str) -> str:
    """Return words joined by dots or underscores in the form of a type's name."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", text))


def input_name(operation: str) -> str:
    """Return the name of an operation's input."""
    return f"{pascal(operation)}Input"


def base_name(cls: Any) -> str:
    """Return the name of a class or an alias; of a generic class with its arguments, `PageOfTask`."""
    if isinstance(cls, Alias):
        return cls.name
    arguments = get_args(cls)
    if not arguments:
        return pascal(getattr(cls, "__name__", str(cls)))
    return f"{base_name(get_origin(cls))}Of{''.join(map(base_name, arguments))}"


def home(cls: Any) -> str:
    """Return the module that a class belongs to; a page belongs to the module of what is on it."""
    if isinstance(cls, Alias):
        return cls.module
    inner = [part for part in get_args(cls) if getattr(part, "__module__", "builtins") not in {"builtins", "typing"}]
    return home(inner[0]) if inner else str(cls.__module__)


def domain_words(registry: Registry) -> dict[str, str]:
    """Return the domain of each module that belongs to one."""
    found: dict[str, str] = {}
    for plugin in registry.plugins.values():
        domain = plugin.domain
        if domain is None:
            continue
        declared = [*domain.tables, *domain.events.values(), *(op.function for op in domain.operations.values())]
        found.update({each.__module__: domain.name for each in declared if each is not None})
        if plugin.module is not None:
            prefix = f"{plugin.module.__name__}."
            found.update({name: domain.name for name in sys.modules.copy() if name.startswith(prefix)})
    return found


def unique(classes: Iterable[Any], domains: dict[str, str], inputs: Set[str]) -> dict[Any, str]:
    """Return a name for each class or alias.

    All that share a name, and each that has a reserved one, get their domain's word before it; the core's classes keep
    theirs.
    """
    groups: dict[str, list[Any]] = defaultdict(list)
    for cls in sorted(classes, key=lambda each: (home(each), repr(each))):
        groups[base_name(cls)].append(cls)
    names: dict[Any, str] = {}
    prefixed: list[Any] = []
    for name, group in sorted(groups.items()):
        core = [cls for cls in group if home(cls).startswith(_CORE) and home(cls) not in domains]
        keeps = core[:1] or (group if len(group) == 1 and not _is_reserved(name) and name not in inputs else [])
        names.update(dict.fromkeys(keeps, name))
        prefixed += [cls for cls in group if cls not in keeps]
    used = {*names.values(), *inputs}
    for cls in prefixed:
        names[cls] = free(pascal(_word(home(cls), domains)) + base_name(cls), used)
        used.add(names[cls])
    return names


def free(name: str, used: Set[str]) -> str:
    """Return a name that is not used yet: itself, or with a number behind it."""
    return next(each for each in (name, *(f"{name}{number}" for number in range(2, 1000))) if each not in used)


def _is_reserved(name: str) -> bool:
    return name in RESERVED or name.endswith(("Error", "Error_"))


def _word(module: str, domains: dict[str, str]) -> str:
    return domains.get(module, module.rpartition(".")[2])


# -- words ------------------------------------------------------------------------------------------------------------


def words_key(words: Iterable[Any]) -> Words:
    """Return what a `Literal` is found by: msgspec sorts its values."""
    return tuple(sorted(words, key=repr))


def written_words(types_: Iterable[Any], classes: Iterable[Any]) -> dict[Words, Words]:
    """Return the values of each `Literal` in some types and in the fields of some classes, in the order as written."""
    found: dict[Words, Words] = {}
    hints = (hint for cls in classes for hint in _hints(cls))
    for words in (words for type_ in (*types_, *hints) for words in _literals(type_)):
        key = words_key(words)
        # Two may be written in another order: which one wins must not depend on the order of loading.
        found[key] = min(words, found.get(key, words), key=repr)
    return found


def _hints(cls: Any) -> Iterable[Any]:
    try:
        return get_type_hints(get_origin(cls) or cls, include_extras=True).values()
    except (NameError, TypeError):
        return ()


def _literals(type_: Any) -> Iterator[Words]:
    if get_origin(type_) is Literal:
        yield get_args(type_)
    else:
        for part in get_args(type_):
            yield from _literals(part)


def aliases(modules: Iterable[str], used: Set[Words]) -> dict[Words, Alias]:
    """Return the type aliases that stand for some used words; none for words that two names stand for."""
    found: dict[Words, dict[str, Alias]] = defaultdict(dict)
    for module in sorted(modules):
        for name, value in sorted(vars(sys.modules.get(module, types.ModuleType(module))).items()):
            if get_origin(value) is not Literal or not name[:1].isupper() or words_key(get_args(value)) not in used:
                continue
            named = found[words_key(get_args(value))]
            alias = Alias(module, name, get_args(value))
            # A module that imports it comes along too; only the one that declares it has its docstring.
            if name not in named or alias.doc:
                named[name] = alias
    return {words: next(iter(named.values())) for words, named in found.items() if len(named) == 1}
