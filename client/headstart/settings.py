"""What a connection is made of, checked and brought into one form."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import grpc

from headstart.channel import TlsConfig, credentials, is_local
from headstart.retries import RetryPolicy

__all__ = ["DEFAULT_SERVER", "ConnectionSettings", "connection_settings", "seconds"]

DEFAULT_SERVER = "localhost:8765"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionSettings:
    """How a server is reached.

    Attributes:
        server: the server as the caller named it.
        credentials: of a secured connection. None: plain text.
        timeout: the seconds a call may take. None: for ever.
        metadata: what is sent along with each call.
        retries: what happens when no server answers.
    """

    server: str
    credentials: grpc.ChannelCredentials | None
    timeout: float | None
    metadata: tuple[tuple[str, str | bytes], ...]
    retries: RetryPolicy


def connection_settings(
    server: str,
    *,
    tls: bool | TlsConfig | None,
    timeout: float | timedelta | None,
    metadata: Mapping[str, str] | None,
    token: str | None,
    retries: int | RetryPolicy,
) -> ConnectionSettings:
    """Brings a client's arguments into one form.

    Raises:
        OSError: a certificate or key cannot be read.
        ValueError: a certificate came without its key, or a key without its certificate; or a token would go
            over the network in plain text.
    """
    if token is not None and not tls and not is_local(server):
        raise ValueError(
            "Expected tls with a token: in plain text everybody on the way can read it. "
            f"Received: neither tls nor a server on this machine, but {server!r}"
        )
    sent = [(key.lower(), value) for key, value in (metadata or {}).items()]  # HTTP/2 has no upper case
    if token is not None:
        sent.append(("authorization", f"Bearer {token}"))
    policy = retries if isinstance(retries, RetryPolicy) else replace(RetryPolicy(), attempts=retries + 1)
    return ConnectionSettings(
        server=server,
        credentials=credentials(tls),
        timeout=None if timeout is None else seconds(timeout),
        metadata=tuple(sent),
        retries=policy,
    )


def seconds(duration: float | timedelta) -> float:
    """A duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
