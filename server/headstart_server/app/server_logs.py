"""The log of a server, and its warnings about missing protection."""

import sys

import structlog

from headstart_server.observability.telemetry import configure_logs
from headstart_server.settings.settings import Settings, is_loopback

log = structlog.get_logger(__name__)


def configure_server_logs(settings: Settings, process: str = "") -> None:
    """Send the logs of a server to stderr.

    Args:
        settings: the settings of the server.
        process: the name of this process in each line; empty for the only process of a server.
    """
    format = settings.observability.log_format
    as_json = format == "json" or (format == "auto" and not sys.stderr.isatty())
    configure_logs(level=settings.observability.log_level, json=as_json, process=process)


def warn_unprotected(settings: Settings) -> None:
    """Log the protection that is missing on ports which other machines can reach."""
    host = settings.server.host
    if is_loopback(host):
        return
    if settings.auth.access_file is None:
        log.warning(
            "authentication_disabled",
            message=f"Without --access-file, every caller that reaches --host {host} may do everything.",
        )
    elif settings.tls.tls_cert is None:
        log.warning(
            "plaintext_tokens",
            message=f"Callers send tokens to --host {host} without TLS. Use --tls-cert and --tls-key, or a "
            "mesh that encrypts the traffic.",
        )
