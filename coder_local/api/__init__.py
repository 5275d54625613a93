"""All that a plugin may import: declare records, events and operations, and everything else is derived.

This package is the stable interface: what stands in `__all__` is documented, typed, and kept by the changelog's rules.
Nothing here touches a database, a socket or a thread.
"""

from .domain import DeclarationError, Domain, Standard
from .errors import (
    Broken,
    Conflict,
    Error,
    Fault,
    Invalid,
    Locked,
    NeedsConfirmation,
    NotFound,
    Offline,
    RateLimited,
    Refused,
    Stale,
    TimedOut,
    TooLarge,
    Unsupported,
)
from .health import HealthCheck, Symptom
from .hearing import Heard, Subscription
from .operations import Index, Kind, Operation, Safety
from .ranks import between, sequence
from .records import Event, Page, Record, Settings, Value, replace
from .rights import Rights
from .scope import Context, Snapshot, Transaction, Withheld
from .steps import Effect, Found, StepError, StepKind, StepRun, WorkKind
from .values import (
    Currency,
    Duration,
    FilePath,
    Id,
    Instant,
    LocalDate,
    Markdown,
    Money,
    Rank,
    Title,
    ZonedTime,
    format_duration,
    format_instant,
    parse_duration,
    parse_instant,
)

__all__ = [
    "Broken",
    "Conflict",
    "Context",
    "Currency",
    "DeclarationError",
    "Domain",
    "Duration",
    "Effect",
    "Error",
    "Event",
    "Fault",
    "FilePath",
    "Found",
    "HealthCheck",
    "Heard",
    "Id",
    "Index",
    "Instant",
    "Invalid",
    "Kind",
    "LocalDate",
    "Locked",
    "Markdown",
    "Money",
    "NeedsConfirmation",
    "NotFound",
    "Offline",
    "Operation",
    "Page",
    "Rank",
    "RateLimited",
    "Record",
    "Refused",
    "Rights",
    "Safety",
    "Settings",
    "Snapshot",
    "Stale",
    "Standard",
    "StepError",
    "StepKind",
    "StepRun",
    "Subscription",
    "Symptom",
    "TimedOut",
    "Title",
    "TooLarge",
    "Transaction",
    "Unsupported",
    "Value",
    "Withheld",
    "WorkKind",
    "ZonedTime",
    "between",
    "format_duration",
    "format_instant",
    "parse_duration",
    "parse_instant",
    "replace",
    "sequence",
]
