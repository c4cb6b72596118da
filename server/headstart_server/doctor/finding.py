"""The result of one check."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from headstart_server.settings.settings import Settings

#: A value that JSON can hold.
Detail = str | int | float | bool | None | list[str]


class Status(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    name: str  # the thing that was checked
    status: Status
    summary: str
    remedy: str = ""  # what to do; required for warnings and failures
    details: Mapping[str, Detail] = field(default_factory=dict)  # further facts, for programs

    def __post_init__(self) -> None:
        if self.status in (Status.WARNING, Status.FAILED) and not self.remedy:
            raise ValueError(f"The {self.status} of {self.name!r} needs a remedy.")


#: Checks one family of things. An exception becomes a failure.
Check = Callable[[Settings], Iterable[Finding]]


def ok(name: str, summary: str, **details: Detail) -> Finding:
    """Return a finding without a problem."""
    return Finding(name, Status.OK, summary, details=details)


def skipped(name: str, summary: str, remedy: str = "", **details: Detail) -> Finding:
    """Return a finding about something that these settings do not use."""
    return Finding(name, Status.SKIPPED, summary, remedy, details)


def warning(name: str, summary: str, remedy: str, **details: Detail) -> Finding:
    """Return a finding about something that works, but not well."""
    return Finding(name, Status.WARNING, summary, remedy, details)


def failed(name: str, summary: str, remedy: str, **details: Detail) -> Finding:
    """Return a finding about something that does not work."""
    return Finding(name, Status.FAILED, summary, remedy, details)
