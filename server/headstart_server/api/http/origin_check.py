"""Reject browser requests that do not come from this server's own pages under a known host name."""

from collections.abc import Mapping

from google.rpc import code_pb2

from headstart_server.api.http.response import HttpError
from headstart_server.inbound.known_hosts import KnownHosts, unknown_host
from headstart_server.settings.settings import Settings


def known_hosts(config: Settings) -> KnownHosts | None:
    """Return the accepted hosts of a server's settings; None for any.

    With TLS any host is accepted, because a browser rejects the other name's certificate. So it is with an
    access file, whose tokens the other page does not have.
    """
    if config.tls.tls_cert is not None or config.auth.access_file is not None:
        return None
    return KnownHosts(config.server.host_names)


def check_origin(headers: Mapping[str, str], hosts: KnownHosts | None) -> None:
    """Check that a request does not come from another site's page in a browser.

    Raise HttpError if it does.
    """
    host = headers.get("host", "")
    if hosts is not None and host not in hosts:
        raise _forbidden(unknown_host(host))
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise _forbidden(
            f"Pages of {origin[:80]!r} may not call this server. Call it from a page of {host!r}."
        )


def _forbidden(message: str) -> HttpError:
    return HttpError(403, code_pb2.PERMISSION_DENIED, message)
