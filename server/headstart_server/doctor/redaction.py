"""Removes secrets from what is printed."""

import re
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote_plus, unquote, urlsplit

from headstart_server.database.address import address_of
from headstart_server.doctor.finding import Detail, Finding
from headstart_server.settings.settings import Settings

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
        # It allows signs in a password that end one elsewhere.
        found.add(str(address_of(config.storage.database_url or "").password or ""))
    found |= {form(secret) for secret in found for form in (unquote, quote_plus)}
    # A shorter one would also hide parts of words.
    return {secret for secret in found if len(secret) >= 4}
