"""The result of one check, without secrets."""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import quote_plus, unquote, urlsplit

from headstart_server.database.address import address_of
from headstart_server.settings.settings import Settings

#: A JSON value.
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
    remedy: str = ""  # the remedy; required for warnings and failures
    details: Mapping[str, Detail] = field(default_factory=dict)  # further facts, for programs

    def __post_init__(self) -> None:
        if self.status in (Status.WARNING, Status.FAILED) and not self.remedy:
            raise ValueError(f"The {self.status} of {self.name!r} needs a remedy.")


#: Runs related checks. An exception becomes a failure.
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


_HIDDEN = "***"
#: The password of a URL.
_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s]*@")


def redacted(config: Settings, finding: Finding) -> Finding:
    """Return a finding without the passwords in the settings and in URLs."""
    secrets = secrets_of(config)

    def hide(value: Detail) -> Detail:
        if isinstance(value, list):
            return [_hidden(one, secrets) for one in value]
        return _hidden(value, secrets) if isinstance(value, str) else value

    return replace(
        finding,
        summary=_hidden(finding.summary, secrets),
        remedy=_hidden(finding.remedy, secrets),
        details={name: hide(value) for name, value in finding.details.items()},
    )


def _hidden(text: str, secrets: set[str]) -> str:
    text = _PASSWORD.sub(rf"\1{_HIDDEN}@", text)
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return text


def secrets_of(config: Settings) -> set[str]:
    """Return the passwords in the URLs of a server's settings."""
    found: set[str] = set()
    for url in (config.storage.database_url, config.jobs.webhook_url, config.observability.trace_url):
        with suppress(ValueError):
            found.add(urlsplit(url or "").password or "")
    with suppress(ValueError):
        # Database addresses allow characters in a password that `urlsplit` does not.
        found.add(str(address_of(config.storage.database_url or "").password or ""))
    found |= {form(secret) for secret in found for form in (unquote, quote_plus)}
    # Shorter passwords would also hide parts of words.
    return {secret for secret in found if len(secret) >= 4}
