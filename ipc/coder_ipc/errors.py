"""What can go wrong between a client and the daemon, each with the exit code a command ends with."""

from __future__ import annotations

from typing import Any, cast

EXIT_CODES = {
    "invalid": 2,
    "too_large": 2,
    "not_found": 3,
    "conflict": 4,
    "stale": 5,
    "refused": 6,
    "needs_confirmation": 7,
    "locked": 8,
    "rate_limited": 9,
    "offline": 10,
    "timeout": 11,
    "unsupported": 12,
    "broken": 70,
}
"""Exit code of a command by error kind; the same table stands in docs/protocol.md."""

_STANDARD_KINDS = {-32700: "invalid", -32600: "invalid", -32601: "not_found", -32602: "invalid"}


class IpcError(Exception):
    """Any failure of this package; `hint` says what to do about it."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def exit_code(self) -> int:
        """Return the code that a command failing with this error exits with."""
        return EXIT_CODES["broken"]


class NotRunning(IpcError):
    """No daemon answers for the data directory."""

    @property
    def exit_code(self) -> int:
        """Return the code of `not_found`: the thing asked for, the daemon, is not there."""
        return EXIT_CODES["not_found"]


class ConnectionLost(IpcError):
    """The connection ended before the answer came; whether a command took effect is unknown.

    Repeating the call with the same `idempotency_key` is safe.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the connection to the daemon is lost: {reason}")


class CallTimeout(IpcError, TimeoutError):
    """The caller's own time limit passed; the daemon was asked to cancel the call."""

    @property
    def exit_code(self) -> int:
        """Return the code of `timeout`."""
        return EXIT_CODES["timeout"]


class RemoteError(IpcError):
    """The daemon's refusal of a call, with all that it said."""

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        field: str | None = None,
        hint: str | None = None,
        data: dict[str, Any] | None = None,
        code: int = -32000,
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.field = field
        self.data = data
        self.code = code

    @property
    def exit_code(self) -> int:
        """Return the exit code of the kind, 70 for a kind that this version does not know."""
        return EXIT_CODES.get(self.kind, EXIT_CODES["broken"])

    @property
    def faults(self) -> list[dict[str, Any]]:
        """Return all faults of the input, `{field, message, hint?}` each; empty for other errors."""
        faults = (self.data or {}).get("faults")
        return cast("list[dict[str, Any]]", faults) if isinstance(faults, list) else []

    @classmethod
    def from_wire(cls, error: object) -> RemoteError:
        """Return the error that a JSON-RPC `error` member describes.

        Never raises: a member that is missing or of another type than expected is replaced by the nearest truth,
        because a client that dies of an error's shape hides the error.
        """
        outer = _mapping(error)
        inner = _mapping(outer.get("data"))
        code = outer.get("code")
        code = code if isinstance(code, int) else -32000
        kind = _text(inner.get("kind")) or _STANDARD_KINDS.get(code, "broken")
        message = _text(inner.get("message")) or _text(outer.get("message")) or f"the daemon answered {kind}"
        data = inner.get("data")
        return cls(
            kind,
            message,
            field=_text(inner.get("field")),
            hint=_text(inner.get("hint")),
            data=cast("dict[str, Any]", data) if isinstance(data, dict) else None,
            code=code,
        )


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
