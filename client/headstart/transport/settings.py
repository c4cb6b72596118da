"""Connection settings, from arguments and environment variables."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, TypeAlias

import grpc

from headstart.calls.calls import Call
from headstart.transport.channel import SERVER_SCHEMES, TlsConfig, credentials, is_local
from headstart.transport.retries import RetryPolicy
from headstart.transport.tokens import Token, TokenSource

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

DEFAULT_SERVER: Final = "localhost:8765"
_DEFAULT_TIMEOUT: Final = 60.0
_HOST_PORT: Final = re.compile(r"(?:\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]@]+):(\d{1,5})")
_URL: Final = re.compile(r"(https?)://([^/\s]+)", re.IGNORECASE)
_LAST_PORT: Final = 65_535


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionSettings:
    """The settings of a connection."""

    server: str  # address as the caller passed it
    credentials: grpc.ChannelCredentials | None  # TLS credentials. None: plain text
    timeout: float | None  # seconds of a call. None: no limit
    metadata: Metadata
    retries: RetryPolicy
    tokens: TokenSource  # source of the token of each call
    interceptors: tuple[Any, ...] = ()

    def metadata_with(self, token: str | None) -> Metadata:
        """Return the metadata of a call with this token."""
        return self.metadata if token is None else (*self.metadata, ("authorization", f"Bearer {token}"))

    def seconds_of(self, call: Call[Any], timeout: float | None) -> float | None:
        """Return the seconds of a call with a timeout, or with that of the connection; None for no limit."""
        limit = self.timeout if timeout is None else timeout
        return None if limit is None else limit + call.extra_seconds


def connection_settings(
    server: str | None = None,
    *,
    tls: bool | TlsConfig | None = None,
    timeout: float | timedelta | None = None,
    metadata: Mapping[str, str] | None = None,
    token: Token | None = None,
    retries: int | RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
    interceptors: Sequence[Any] = (),
    environment: Mapping[str, str] = os.environ,
) -> ConnectionSettings:
    """Return a client's settings; omitted ones come from environment variables."""
    if not isinstance(server, str | None):
        raise TypeError(f"The server must be a str, such as {DEFAULT_SERVER!r}. Received: {server!r}")
    address = checked_server(server or environment.get("HEADSTART_SERVER") or DEFAULT_SERVER)
    secured = _tls_of(environment) if tls is None else tls
    supplied = environment.get("HEADSTART_TOKEN") if token is None else token
    if supplied and not secured and not is_local(address):
        raise ValueError(
            "A token requires TLS, because everyone on the network could read it. Pass tls=True, or a "
            f"TlsConfig. Received: a token for {address!r} in plain text"
        )
    return ConnectionSettings(
        server=address,
        credentials=credentials(secured),
        timeout=_timeout_of(environment) if timeout is None else _limit(timeout, "timeout"),
        metadata=_sent(metadata),
        retries=_policy(retries),
        tokens=TokenSource(supplied),
        interceptors=tuple(interceptors),
    )


def channel_settings(
    *,
    timeout: float | timedelta | None,
    metadata: Mapping[str, str] | None,
    token: Token | None,
    retries: int | RetryPolicy,
) -> ConnectionSettings:
    """Return the settings of a client over the caller's channel."""
    return ConnectionSettings(
        server="the given channel",
        credentials=None,
        timeout=_DEFAULT_TIMEOUT if timeout is None else _limit(timeout, "timeout"),
        metadata=_sent(metadata),
        retries=_policy(retries),
        tokens=TokenSource(token),
    )


def changed_settings(
    settings: ConnectionSettings,
    *,
    timeout: float | timedelta | None,
    retries: int | RetryPolicy | None,
    metadata: Mapping[str, str] | None,
) -> ConnectionSettings:
    """Return changed settings; None leaves a setting unchanged, and metadata is merged."""
    added = _sent(metadata)
    names = {key for key, _ in added}
    return replace(
        settings,
        timeout=settings.timeout if timeout is None else _limit(timeout, "timeout"),
        retries=settings.retries if retries is None else _policy(retries),
        metadata=(*(pair for pair in settings.metadata if pair[0] not in names), *added),
    )


def checked_server(server: str) -> str:
    """Return the address of a server; raise ValueError unless it is host:port or a gRPC target."""
    url = _URL.match(server)
    if url is not None:
        secured = " and use TLS (tls=True, or --tls)" if url[1].lower() == "https" else ""
        raise ValueError(
            f"The server must be host:port of its gRPC port, such as {DEFAULT_SERVER}, and not a URL. Remove "
            f"'{url[1]}://'{secured}. Received: {server!r}"
        )
    match = _HOST_PORT.fullmatch(server)
    has_scheme = server.startswith(SERVER_SCHEMES) and not server.endswith(":")
    if has_scheme or (match is not None and 0 < int(match[1]) <= _LAST_PORT):
        return server
    remedy = f". Add the port: '{server}:8765'" if re.fullmatch(r"[\w.-]+", server) else ""
    raise ValueError(f"Expected host:port, such as {DEFAULT_SERVER}. Received: {server!r}{remedy}")


def seconds(duration: float | timedelta) -> float:
    """Return a duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)


def _limit(timeout: float | timedelta, name: str) -> float | None:
    limit = seconds(timeout)
    if not limit > 0:
        raise ValueError(f"{name} must be above 0 seconds; math.inf means no limit. Received: {timeout!r}")
    return None if limit == math.inf else limit


def _timeout_of(environment: Mapping[str, str]) -> float | None:
    text = environment.get("HEADSTART_TIMEOUT")
    if not text:
        return _DEFAULT_TIMEOUT
    try:
        limit = float(text)
    except ValueError:
        raise ValueError(f"HEADSTART_TIMEOUT must be a number of seconds. Received: {text!r}") from None
    return _limit(limit, "HEADSTART_TIMEOUT")


def _tls_of(environment: Mapping[str, str]) -> TlsConfig | None:
    ca, cert, key = (environment.get(f"HEADSTART_{name}") or None for name in ("CA", "CERT", "KEY"))
    return TlsConfig(ca=ca, cert=cert, key=key) if ca or cert or key else None


def _sent(metadata: Mapping[str, str] | None) -> Metadata:
    return tuple((key.lower(), value) for key, value in (metadata or {}).items())  # HTTP/2 has no upper case


def _policy(retries: int | RetryPolicy) -> RetryPolicy:
    if isinstance(retries, RetryPolicy):
        return retries
    if retries < 0:
        raise ValueError(f"retries must be 0 or more. Received: {retries}")
    return replace(RetryPolicy(), attempts=retries + 1)
