"""`completion`: a script that completes the command's words, made from the operations of the daemon as it is now."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from coder_ipc.errors import IpcError

from . import catalogue, members, operation, schema, shipped
from .app import HANDOVER, Command, summaries
from .parser import SETTINGS_OPTIONS, SETTINGS_WITH_VALUE

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable

    from .catalogue import Operation
    from .parser import Parser
    from .session import Session

Words = dict[str, str]
"""What may follow, with what it means."""
Tree = dict[tuple[str, ...], Words]

_PLUGINS = {"new": "write a working plugin", "check": "look a plugin over"}
_VALUE = "VALUE"
_SAFE = re.compile(r"-{0,2}[a-z][a-z0-9.-]*")
_ABOUT = """\
  bash   coder-local completion bash > ~/.local/share/bash-completion/completions/coder-local
  zsh    coder-local completion zsh > a folder of $fpath, as _coder-local
  fish   coder-local completion fish > ~/.config/fish/completions/coder-local.fish

The operations are those of the daemon that runs now; make it anew after enabling a plugin.
"""


def _arguments(parser: Parser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def _completion(session: Session, arguments: Namespace) -> int:
    try:
        operations = catalogue.fetch(session.attach(), with_schemas=True, timeout=session.settings.timeout)
    except IpcError as error:
        session.output.note(f"only the built-in commands are completed: {error.message}")
        operations = []
    script = {"bash": bash, "zsh": zsh, "fish": fish}[arguments.shell]
    print(script(tree(operations)))
    return 0


def tree(operations: Iterable[Operation]) -> Tree:
    """Return for each sequence of words what may follow it."""
    found: Tree = {
        (): summaries(),
        ("plugins",): dict(_PLUGINS),
        ("completion",): dict.fromkeys(("bash", "zsh", "fish"), ""),
    }
    for command in shipped.bundled():
        for depth, word in enumerate(command.words):
            is_last = depth == len(command.words) - 1
            found.setdefault(command.words[:depth], {}).setdefault(word, command.summary if is_last else "")
    for each in operations:
        words = each.words
        if not all(map(_SAFE.fullmatch, words)):
            continue  # a word that a shell could read as more than a word is not worth completing
        for depth, word in enumerate(words):
            is_last = depth == len(words) - 1
            found.setdefault(words[:depth], {}).setdefault(word, each.summary if is_last else "")
        found.setdefault(words, {}).update(_options(each))
    found[tuple(HANDOVER.split())] = {"--force": ""}  # the command, not the operation of that name
    return found


def _options(each: Operation) -> Words:
    """Return the options of an operation, with `VALUE` as meaning where a value follows."""
    found: Words = {}
    for field in schema.fields(each.input):
        found[operation.option(field)] = "" if field.type == "boolean" else _VALUE
        if field.type == "boolean" or field.can_be_emptied:
            found[operation.option(field, "no-")] = ""
        for path, part in members.dotted(field):
            found[f"--{path.replace('_', '-')}"] = "" if part.type == "boolean" else _VALUE
    return {name: kind for name, kind in found.items() if _SAFE.fullmatch(name)}


def _cases(words: Tree) -> str:
    """Return the branches of a shell's `case` that set what may follow."""
    lines = [
        f"    '{' '.join(path)}') words='{' '.join(sorted(following))}' ;;"
        for path, following in words.items()
        if following
    ]
    return "\n".join(lines)


_BASH = """\
# bash completion of coder-local
_coder_local() {
  local current=${COMP_WORDS[COMP_CWORD]} path='' words='' index word
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=${COMP_WORDS[index]}
    case $word in
    WITH_VALUE) ((index++)) ;;
    -*) ;;
    *) path="${path:+$path }$word" ;;
    esac
  done
  case $path in
CASES
  esac
  [[ $current == -* ]] && words="$words SETTINGS --help"
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _coder_local coder-local"""

_ZSH = """\
#compdef coder-local
# zsh completion of coder-local
_coder_local() {
  local path_='' choices='' index=2 word
  while ((index < CURRENT)); do
    word=$words[index]
    case $word in
    WITH_VALUE) ((index++)) ;;
    -*) ;;
    *) path_="${path_:+$path_ }$word" ;;
    esac
    ((index++))
  done
  case $path_ in
CASES
  esac
  [[ $words[CURRENT] == -* ]] && choices="$choices SETTINGS --help"
  if [[ -n $choices ]]; then compadd -- ${=choices}; else _files; fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _coder_local "$@"; else compdef _coder_local coder-local; fi"""

_FISH = """\
# fish completion of coder-local
function __coder_local_at
    set -l path
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch $word
            case WITH_VALUE
                set skip 1
            case '-*'
            case '*'
                set -a path $word
        end
    end
    test "$path" = "$argv[1]"
end
complete -c coder-local -f
"""


def bash(words: Tree) -> str:
    """Return the script for bash, 3.2 included."""
    return _filled(_BASH, _cases(words), "|")


def zsh(words: Tree) -> str:
    """Return the script for zsh."""
    return _filled(_ZSH, _cases(words).replace(") words=", ") choices="), "|")


def fish(words: Tree) -> str:
    """Return the script for fish, which shows what each word means."""
    long = [name for name in SETTINGS_OPTIONS if name.startswith("--")]
    lines = [f"complete -c coder-local -l {name[2:]}{' -r' if name in SETTINGS_WITH_VALUE else ''}" for name in long]
    for path, following in words.items():
        condition = f"-n \"__coder_local_at '{' '.join(path)}'\""
        for word, meaning in sorted(following.items()):
            if word.startswith("--"):
                lines.append(f"complete -c coder-local {condition} -l {word[2:]}{' -r' if meaning == _VALUE else ''}")
                continue
            what, about = f"-a {word}", f" -d '{_quoted(meaning)}'" if meaning else ""
            lines.append(f"complete -c coder-local {condition} {what}{about}")
    return _filled(_FISH, "", " ") + "\n".join(lines)


def _filled(script: str, cases: str, between: str) -> str:
    script = script.replace("WITH_VALUE", between.join(SETTINGS_WITH_VALUE)).replace(
        "SETTINGS", " ".join(SETTINGS_OPTIONS)
    )
    return script.replace("CASES", cases)


def _quoted(text: str) -> str:
    first = " ".join(text.split())
    return first.replace("\\", "\\\\").replace("'", "\\'")


COMMANDS = {"completion": Command(_arguments, _completion, _ABOUT)}
