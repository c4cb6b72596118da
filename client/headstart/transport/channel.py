"""The gRPC channel: target, TLS, load balancing, keepalive and retries."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import grpc

from headstart.release import installed_version

MAX_MESSAGE_BYTES: Final = 64 * 2**20
"""Size of the largest message that is sent or received."""

SERVER_SCHEMES: Final = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")
"""Schemes of gRPC targets. Other addresses are ``host:port``."""

#: Names of methods that only read begin with one of these.
_READS: Final = ("Get", "List")
#: The other idempotent methods (Rebase has a request ID).
_REPEATABLE: Final = {
    "headstart.v1.FineTuningService/Cancel",
    "headstart.v1.FineTuningService/Rebase",
    "headstart.v1.FineTuningService/Status",
    "headstart.v1.PredictionService/Embed",
    "headstart.v1.PredictionService/Predict",
    "headstart.v1.ServerService/WhoAmI",
}
_UPLOAD: Final = {"service": "headstart.v1.FineTuningService", "method": "FineTune"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsConfig:
    """Certificates of a TLS connection, as paths or PEM bytes.

    Attributes:
        ca: certificate authorities of the server's certificate. None: gRPC's default.
        cert: client certificate chain, for mutual TLS.
        key: private key of `cert`.
    """

    ca: str | os.PathLike[str] | bytes | None = None
    cert: str | os.PathLike[str] | bytes | None = None
    key: str | os.PathLike[str] | bytes | None = field(default=None, repr=False)


def credentials(tls: bool | TlsConfig | None) -> grpc.ChannelCredentials | None:
    """Return channel credentials; None for plain text. `tls` True uses gRPC's default root certificates."""
    if not tls:
        return None
    config = TlsConfig() if tls is True else tls
    if (config.cert is None) != (config.key is None):
        raise ValueError("A client certificate requires both cert and key")
    return grpc.ssl_channel_credentials(
        root_certificates=_pem(config.ca),
        private_key=_pem(config.key),
        certificate_chain=_pem(config.cert),
    )


def target_uri(target: str) -> str:
    """Return the gRPC target; ``host:port`` is resolved by DNS, so that all addresses of a name are used."""
    return target if target.startswith(SERVER_SCHEMES) else f"dns:///{target}"


def is_repeatable(path: str) -> bool:
    """Return whether a method is idempotent, by its full name."""
    name = path.removeprefix("/")
    return name in _REPEATABLE or name.partition("/")[2].startswith(_READS)


def is_local(target: str) -> bool:
    """Return whether a target is on this machine."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    for scheme in SERVER_SCHEMES:
        target = target.removeprefix(scheme)
    # Several addresses in gRPC's syntax; the part before the last `/` is a DNS server.
    addresses = target.rpartition("/")[2].split(",")
    return all(_is_loopback(address) for address in addresses)


def _is_loopback(address: str) -> bool:
    host, _, port = address.rpartition(":")
    # Without a port, a colon is part of an IPv6 address.
    host = (host if host and port.isdigit() and (host.endswith("]") or ":" not in host) else address).strip(
        "[]"
    )
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def channel_options(target: str) -> Sequence[tuple[str, Any]]:
    """Return the options of a channel to a target."""
    # The proxy of the environment could read what is sent to this machine in plain text, such as the token.
    direct = [("grpc.enable_http_proxy", 0)] if is_local(target) else []
    return [
        *direct,
        ("grpc.service_config", json.dumps(service_config())),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # Detects within 80 s that a peer vanished, for example by a power failure or a lost NAT entry.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Reconnects to a restarted server within seconds; gRPC's default is two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.dns_min_time_between_resolutions_ms", 5_000),
        ("grpc.primary_user_agent", f"headstart-python/{installed_version()}"),
    ]


def service_config() -> dict[str, Any]:
    """Return the gRPC service config: round robin, and a limit for uploads."""
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": [_UPLOAD], "timeout": "3600s"}],
    }


def _pem(source: str | os.PathLike[str] | bytes | None) -> bytes | None:
    return source if source is None or isinstance(source, bytes) else Path(source).read_bytes()
