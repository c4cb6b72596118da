"""Checks the access file, the secrets of webhooks, the places of data, and who may read secret files."""

from collections.abc import Iterator
from pathlib import Path

from headstart_server.access.authenticator import Authenticator
from headstart_server.config import Config, is_loopback
from headstart_server.database.address import sqlite_file
from headstart_server.dataset_uris.own import data_policy
from headstart_server.doctor.files import open_to_all, remedy_of, unreadable
from headstart_server.doctor.finding import Finding, failed, ok, skipped, warning
from headstart_server.doctor.redaction import secrets_of
from headstart_server.jobs.webhook_message import read_secrets
from headstart_server.jobs.webhook_policy import WebhookPolicy


def check_security(config: Config, file: Path | None = None) -> Iterator[Finding]:
    """Check who may do what, and what is kept secret.

    Args:
        config: the settings.
        file: the file that some of them come from.
    """
    yield _access(config)
    yield _webhooks(config)
    yield _allowed_data(config)
    yield _secret_files(config, file)


def _access(config: Config) -> Finding:
    path = config.access
    if path is None:
        if is_loopback(config.host):
            return skipped("access file", "none: every caller on this machine may do everything")
        return warning(
            "access file",
            f"none: every caller that reaches {config.host} may do everything.",
            "Set --access-file; docs/security.md describes the file.",
        )
    if reason := unreadable(path):
        return failed("access file", reason, remedy_of(path))
    try:
        Authenticator(path)
    except ModuleNotFoundError as error:
        message, _, command = str(error).partition(": ")
        return failed("access file", f"{message}.", command.rstrip(".") or message)
    except (OSError, ValueError) as error:
        return failed("access file", str(error), f"Correct {path}; docs/security.md describes its form.")
    return ok("access file", f"{path} is valid")


def _webhooks(config: Config) -> Finding:
    path = config.webhook_secret_file
    if path is None:
        return skipped("webhooks", "off")
    if reason := unreadable(path):
        return failed("webhooks", reason, remedy_of(path))
    try:
        WebhookPolicy(config.webhook_allow, own=config.webhook_url)
        count = len(read_secrets(path, config.webhook_url))
    except (OSError, ValueError) as error:
        return failed("webhooks", str(error), f"Correct --webhook, --allow-webhook or {path}.")
    return ok("webhooks", f"{path} holds {count} secret(s)", secrets=count)


def _allowed_data(config: Config) -> Finding:
    if not config.allow_data:
        return skipped("dataset URIs", "off (--allow-dataset-uri)")
    try:
        data_policy(config, sqlite_file(config.database_url) if config.database_url else None)
    except (OSError, ValueError) as error:
        return failed("dataset URIs", str(error), "Correct --allow-dataset-uri.")
    return ok("dataset URIs", ", ".join(config.allow_data))


def _secret_files(config: Config, file: Path | None) -> Finding:
    files = [path for path in (config.tls_key, config.webhook_secret_file) if path is not None]
    if file is not None and any(secret in file.read_text() for secret in secrets_of(config)):
        files.append(file)
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
