"""Plugins that are there and do not answer: why, and what a person does about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .errors import Failure

if TYPE_CHECKING:
    from coder_ipc.client import Client

_CURES = {
    "disabled": "coder-local plugins enable {name}",
    "needs_enabling": "look at what it does in {location}, then: coder-local plugins enable {name}",
    "quarantined": "look at why, and at the log; then: coder-local plugins enable {name}",
    "left_out": "it is not loaded in this start; to have it all the same: coder-local plugins enable {name}",
    "stopped_by_newer_data": "install the version of it that made the data, then: coder-local stop",
}
_BY_SOURCE = {
    "folder": "`coder-local plugins check '{location}'` tells more; mend it, then: coder-local plugins enable {name}",
    "entry_point": "install a version of it that works, then: coder-local stop; coder-local plugins enable {name}",
}
_OTHERWISE = "install coder-local again, then: coder-local stop"


def failure(client: Client, word: str) -> Failure | None:
    """Return why the operations that begin with a word are not there, None when no plugin that is stopped has them."""
    name = word.replace("-", "_")
    for plugin in known(client):
        if name in (plugin.get("name"), plugin.get("domain")) and plugin.get("status") != "loaded":
            return _failure(plugin)
    return None


def known(client: Client, timeout: float | None = None) -> list[dict[str, Any]]:
    """Return all plugins as `plugins.list` has them."""
    return cast("list[dict[str, Any]]", client.call("plugins.list", {}, timeout)["items"])


def cure(plugin: dict[str, Any]) -> str:
    """Return what to do about a plugin that does not answer."""
    text = _CURES.get(str(plugin.get("status"))) or _BY_SOURCE.get(str(plugin.get("source")), _OTHERWISE)
    return text.format(name=plugin.get("name"), location=plugin.get("location"))


def _failure(plugin: dict[str, Any]) -> Failure:
    status, reason = str(plugin.get("status")), str(plugin.get("reason") or "")
    message = f"the plugin {plugin['name']} does not run ({status}){f': {reason}' if reason else ''}"
    data = {"plugin": plugin["name"], "status": status, "reason": reason}
    return Failure("unsupported", message, hint=cure(plugin), data=data)
