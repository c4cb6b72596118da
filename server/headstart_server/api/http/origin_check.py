"""Reject browser requests that do not come from this server's own pages under a known host name.

A page of another site can point its own name at this server's address (DNS rebinding). The browser then
treats both as one site, and only the header Host still has the other name.
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from google.rpc import code_pb2

from headstart_server.api.http.response import HttpError
from headstart_server.settings.settings import Settings

#: Host names that always mean this machine.
_LOCAL = ("localhost", "*.localhost")


class KnownHosts:
    """The accepted host names of requests. IP addresses are always accepted: no site has one as its name.

    Args:
        names: host names without ports; a leading `*.` stands for one or more labels.
    """

    def __init__(self, names: Iterable[str]) -> None:
        lowered = [name.lower() for name in names]
        self._names = frozenset(lowered)
        self._endings = tuple(name[1:] for name in lowered if name.startswith("*."))

    def __contains__(self, host: str) -> bool:
        """Return whether the value of a header Host is known."""
        name = re.sub(r":[0-9]*$", "", host).lower().removesuffix(".")
        if name.startswith("["):
            return name.endswith("]") and _is_address(name[1:-1])
        return name in self._names or name.endswith(self._endings) or _is_address(name)


def known_hosts(config: Settings) -> KnownHosts | None:
    """Return the accepted hosts of a server's settings; None for any.

    With TLS any host is accepted, because a browser rejects the other name's certificate. So it is with an
    access file, whose tokens the other page does not have.
    """
    if config.tls.tls_cert is not None or config.auth.access_file is not None:
        return None
    return KnownHosts([*_LOCAL, config.server.host, *config.server.allow_http_host])


def check_origin(headers: Mapping[str, str], hosts: KnownHosts | None) -> None:
    """Check that a request does not come from another site's page in a browser.

    Raise HttpError if it does.
    """
    host = headers.get("host", "")
    if hosts is not None and host not in hosts:
        raise _forbidden(
            f"The host {host[:80]!r} is not a known name of this server. If it is one, add it with "
            "--allow-http-host."
        )
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise _forbidden(
            f"Pages of {origin[:80]!r} may not call this server. Call it from a page of {host!r}."
        )


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _forbidden(message: str) -> HttpError:
    return HttpError(403, code_pb2.PERMISSION_DENIED, message)
