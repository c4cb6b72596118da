"""Checks the access file, the secrets of webhooks, the places of data, and who may read secret files."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from headstart_server.auth.authenticator import Authenticator
from headstart_server.database.address import sqlite_file
from headstart_server.datasets.uris.policy import dataset_uri_policy
from headstart_server.doctor.finding import Finding, failed, ok, skipped, warning
from headstart_server.doctor.redaction import secrets_of
from headstart_server.settings.settings import Settings, is_loopback
from headstart_server.webhooks.message import read_secrets
from headstart_server.webhooks.policy import WebhookPolicy

#: The largest file of settings or certificates.
MOST_BYTES = 16 << 20


def unreadable(path: Path) -> str | None:
    """Return why a file of settings or certificates cannot be read; None if it can."""
    try:
        found = path.stat()
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}."
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is not a regular file."
    if found.st_size > MOST_BYTES:
        return f"{path} has {found.st_size:,} bytes, more than {MOST_BYTES:,}."
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}."
    return None


def remedy_of(path: Path) -> str:
    """Return what to do about a file that cannot be read."""
    return f"Provide the file {path}, readable for the user ID {os.geteuid()}."


def open_to_all(path: Path) -> str | None:
    """Return how a secret file is open to every user of the machine; None if it is not."""
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH:
        return f"every user may change {path} (mode {stat.S_IMODE(mode):03o})"
    if mode & stat.S_IROTH:
        return f"every user may read {path} (mode {stat.S_IMODE(mode):03o})"
    return None


def check_security(config: Settings) -> Iterator[Finding]:
    """Check who may do what, and what is kept secret."""
    yield _access(config)
    yield _webhooks(config)
    yield _allowed_data(config)
    yield _secret_files(config)


def _access(config: Settings) -> Finding:
    path = config.auth.access_file
    if path is None:
        if is_loopback(config.server.host):
            return skipped("access file", "none: every caller on this machine may do everything")
        return warning(
            "access file",
            f"none: every caller that reaches {config.server.host} may do everything.",
            "Set --access-file; docs/operate/tls-and-access.md describes the file.",
        )
    if reason := unreadable(path):
        return failed("access file", reason, remedy_of(path))
    try:
        Authenticator(path)
    except ModuleNotFoundError as error:
        message, _, command = str(error).partition(": ")
        return failed("access file", f"{message}.", command.rstrip(".") or message)
    except (OSError, ValueError) as error:
        remedy = f"Correct {path}; docs/operate/tls-and-access.md describes its form."
        return failed("access file", str(error), remedy)
    return ok("access file", f"{path} is valid")


def _webhooks(config: Settings) -> Finding:
    path = config.jobs.webhook_secret_file
    if path is None:
        return skipped("webhooks", "off")
    if reason := unreadable(path):
        return failed("webhooks", reason, remedy_of(path))
    try:
        WebhookPolicy(config.jobs.allow_webhook, own=config.jobs.webhook_url)
        count = len(read_secrets(path, config.jobs.webhook_url))
    except (OSError, ValueError) as error:
        return failed("webhooks", str(error), f"Correct --webhook, --allow-webhook or {path}.")
    return ok("webhooks", f"{path} holds {count} secret(s)", secrets=count)


def _allowed_data(config: Settings) -> Finding:
    if not config.jobs.allow_dataset_uri:
        return skipped("dataset URIs", "off (--allow-dataset-uri)")
    try:
        dataset_uri_policy(
            config, sqlite_file(config.storage.database_url) if config.storage.database_url else None
        )
    except (OSError, ValueError) as error:
        return failed("dataset URIs", str(error), "Correct --allow-dataset-uri.")
    return ok("dataset URIs", ", ".join(config.jobs.allow_dataset_uri))


def _secret_files(config: Settings) -> Finding:
    files = [path for path in (config.tls.tls_key, config.jobs.webhook_secret_file) if path is not None]
    files += [
        path for path in config.files if any(secret in path.read_text() for secret in secrets_of(config))
    ]
    problems = []
    for path in files:
        try:
            problem = open_to_all(path)
        except OSError:
            # The check of the file itself reports it.
            continue
        if problem:
            problems.append(problem)
    if problems:
        text = "; ".join(problems)
        return warning(
            "secret files",
            f"{text[0].upper()}{text[1:]}.",
            "chmod o-rwx the files; in Kubernetes set defaultMode: 0440 of the Secret's volume.",
        )
    if not files:
        return skipped("secret files", "The settings name no file with secrets.")
    return ok("secret files", "not readable for every user")
