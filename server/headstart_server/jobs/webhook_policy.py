"""Where POSTs may go: to allowed URLs, and to addresses of the internet unless others are allowed."""

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from headstart_server.errors import InvalidField

MAX_BYTES = 2048
_PORTS = {"http": 80, "https": 443}
#: What a URL is written with; no backslash, space or control character, which clients read differently.
_ALLOWED = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
#: IPv4 addresses within IPv6: what a translator on the way would send to.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Refused(Exception):
    """A URL that nothing may be sent to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where a POST goes, looked up once: what was checked is what is connected to.

    Attributes:
        address: the IP address.
        port: of it.
        host: the name, for the certificate and the header `Host`.
        path: with its query.
        is_tls: whether it is https.
    """

    address: str
    port: int
    host: str
    path: str
    is_tls: bool

    @property
    def authority(self) -> str:
        """The value of the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS["https" if self.is_tls else "http"] else f"{host}:{self.port}"


class WebhookPolicy:
    """Tells which URLs may be sent to.

    Args:
        prefixes: URLs that those which jobs name begin with; none allows nothing.
        own: the server's own URL; None for none.
        allow_private: whether they may be at addresses that are not of the internet: loopback, private,
            link-local and the like.
        resolve: gives the addresses of a host and port.

    Raises:
        ValueError: a prefix is no URL.
    """

    def __init__(
        self,
        prefixes: Sequence[str],
        *,
        own: str | None = None,
        allow_private: bool = False,
        resolve: Callable[[str, int], Sequence[str]] | None = None,
    ) -> None:
        self._prefixes = [_prefix(prefix) for prefix in prefixes]
        self._own = own
        if own is not None:
            _prefix(own)
        self._allow_private = allow_private
        self._resolve = resolve or _resolved

    def check(self, uri: str, field: str = "spec.webhook") -> str:
        """The URL, if it is one that may be asked for.

        Raises:
            InvalidField: it is not.
        """
        try:
            url = _split(uri)
        except ValueError as error:
            raise InvalidField(f"Expected an http or https URL. Received: {error}", field=field) from None
        if not any(_begins(url, prefix) for prefix in self._prefixes):
            raise InvalidField(
                "Expected a webhook that the server allows (--webhook-allow). "
                f"Received: {url.scheme}://{url.hostname}, which is not among them.",
                field=field,
            )
        return uri

    def target(self, uri: str) -> Target:
        """Where a URL leads now.

        Raises:
            Refused: it is not allowed, or leads where nothing may be sent.
            OSError: its host has no address.
        """
        try:
            url = _split(uri if uri == self._own else self.check(uri))
        except InvalidField as error:
            raise Refused(error.message) from None
        host, port = str(url.hostname), url.port or _PORTS[url.scheme]
        addresses = self._resolve(host, port)
        if not self._allow_private:
            inner = [address for address in addresses if not _is_public(address)]
            if inner:
                # One of them is enough: a name that has both is no honest one.
                raise Refused(f"{host} is at an address that is not of the internet.")
        path = url.path or "/"
        return Target(
            address=addresses[0],
            port=port,
            host=host,
            path=f"{path}?{url.query}" if url.query else path,
            is_tls=url.scheme == "https",
        )


def _split(uri: str) -> SplitResult:
    if len(uri) > MAX_BYTES:
        raise ValueError(f"one of {len(uri)} characters, more than {MAX_BYTES}.")
    if not _ALLOWED.fullmatch(uri):
        raise ValueError(f"{uri[:80]!r}, which has characters that a URL is not written with.")
    url = urlsplit(uri)
    if url.scheme not in _PORTS or not url.hostname:
        raise ValueError(f"{uri[:80]!r}.")
    if "@" in url.netloc:
        # Not told: it may hold a password.
        raise ValueError("one with a user name.")
    if url.fragment or re.search(r"(^|/)(\.|%2e){1,2}(/|$)|%2f|%5c", url.path, re.IGNORECASE):
        raise ValueError(f"{uri[:80]!r}, which has a fragment, or steps up in its path.")
    _ = url.port
    return url


def _prefix(uri: str) -> SplitResult:
    try:
        return _split(uri)
    except ValueError as error:
        raise ValueError(f"Expected an http or https URL as a webhook. Received: {error}") from None


def _begins(url: SplitResult, prefix: SplitResult) -> bool:
    """Whether a URL is within a prefix: the same host and port, and a path within its path."""
    if (url.scheme, url.hostname, url.port or _PORTS[url.scheme]) != (
        prefix.scheme,
        prefix.hostname,
        prefix.port or _PORTS[prefix.scheme],
    ):
        return False
    folder = prefix.path.rstrip("/")
    return url.path in (prefix.path, folder) or url.path.startswith(f"{folder}/")


def _resolved(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]


def _is_public(text: str) -> bool:
    address: _Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        elif address.sixtofour is not None:
            address = address.sixtofour
        elif address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast
