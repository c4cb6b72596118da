"""Checks the access file, webhook secrets, allowed dataset URIs, TLS, and the modes of secret files."""

import os
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from headstart_server.api.grpc.certificate_dates import own_certificate
from headstart_server.api.grpc.tls import Certificates, tls_files
from headstart_server.auth.authenticator import Authenticator
from headstart_server.database import address
from headstart_server.datasets.uris.policy import dataset_uri_policy
from headstart_server.doctor.finding import Finding, failed, ok, secrets_of, skipped, warning
from headstart_server.settings.settings import Settings, is_loopback
from headstart_server.webhooks.message import read_secrets
from headstart_server.webhooks.policy import WebhookPolicy

#: Maximum bytes of a file of settings or certificates.
MOST_BYTES = 16 << 20


def unreadable(path: Path) -> str | None:
    """Return the reason why a file of settings or certificates cannot be read; None if it can."""
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
    """Return the remedy for an unreadable file."""
    return f"Provide the file {path}, readable for the user ID {os.geteuid()}."


def open_to_all(path: Path) -> str | None:
    """Return the access that every user of the machine has to a secret file; None without access."""
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH:
        return f"every user may change {path} (mode {stat.S_IMODE(mode):03o})"
    if mode & stat.S_IROTH:
        return f"every user may read {path} (mode {stat.S_IMODE(mode):03o})"
    return None


def check_security(config: Settings) -> Iterator[Finding]:
    """Check access control and secrets."""
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
        dataset_uri_policy(config, address.files(config.storage.database_target))
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


#: Seconds before its expiry at which a certificate causes a warning.
RENEWAL_SECONDS = 30 * 86400.0


def check_tls(config: Settings, clock: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Check certificate, key and client CA at a time, in seconds since 1970."""
    files = tls_files(config.tls)
    if files is None:
        yield _plain(config)
        return
    unusable = [(path, reason) for path in files.paths if (reason := unreadable(path))]
    for path, reason in unusable:
        yield failed("TLS", reason, remedy_of(path), file=str(path))
    if unusable:
        return
    try:
        Certificates(files)
        facts = own_certificate(files)
    except OSError as error:
        yield failed("TLS", str(error), "Provide a certificate chain and the key that belongs to it, in PEM.")
        return
    yield certificate_finding("TLS certificate", facts, clock())
    if files.client_ca is not None:
        yield _client_ca(files.client_ca.read_text(errors="replace"), clock())


def _plain(config: Settings) -> Finding:
    if is_loopback(config.server.host):
        return skipped("TLS", "off: only this machine can connect")
    return warning(
        "TLS",
        f"off (--plaintext) on {config.server.host}: anyone on the network path can read and change calls.",
        "Set --tls-cert and --tls-key, unless a mesh or proxy encrypts the connections.",
    )


def certificate_finding(name: str, facts: dict[str, Any], now: float) -> Finding:
    """Return a finding about the validity of a certificate, now and for some time.

    Args:
        facts: the certificate as `ssl.SSLSocket.getpeercert` returns it.
        now: seconds since 1970.
    """
    starts, ends = (ssl.cert_time_to_seconds(facts[field]) for field in ("notBefore", "notAfter"))
    names = [value for _, value in facts.get("subjectAltName", ())]
    subject = ", ".join(value for part in facts.get("subject", ()) for _, value in part)
    days = (ends - now) / 86400
    details = {
        "subject": subject,
        "names": names,
        "not_before": facts["notBefore"],
        "not_after": facts["notAfter"],
        "days_left": round(days, 2),
    }
    title = f"for {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}" if names else subject
    renew = "Renew it. A running server reloads renewed files by itself."
    if now < starts:
        return failed(
            name,
            f"{title}: not valid before {facts['notBefore']}.",
            "Correct the machine's clock, or provide a certificate that is valid now.",
            **details,
        )
    if now > ends:
        return failed(name, f"{title}: expired on {facts['notAfter']}.", renew, **details)
    if ends - now < RENEWAL_SECONDS:
        left = f"{days:.0f} days" if days >= 2 else f"{days * 24:.1f} hours"
        return warning(name, f"{title}: expires in {left}, on {facts['notAfter']}.", renew, **details)
    return ok(name, f"{title}: valid until {facts['notAfter']}, {days:.0f} days", **details)


def _client_ca(pem: str, now: float) -> Finding:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pem)
    except ssl.SSLError as error:
        return failed("client CA", str(error), "Provide the certificates of the clients' authority, in PEM.")
    found = context.get_ca_certs()
    if not found:
        return failed(
            "client CA",
            "The file holds no certificate of an authority, so no client can connect.",
            "Provide the certificates of the authority that signs the clients', in PEM.",
        )
    # Report the certificate that expires first, because its clients are rejected first.
    first = min(found, key=lambda facts: ssl.cert_time_to_seconds(str(facts["notAfter"])))
    return certificate_finding("client CA", dict(first), now)
