"""The address of a URL, resolved once: the server connects to the address that it checked."""

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

MAX_BYTES = 2048
PORTS = {"http": 80, "https": 443}
#: Characters of a URL: no backslash, space or control character, which clients interpret differently.
_ALLOWED = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")


def split_url(uri: str) -> SplitResult:
    """Return the parts of an http or https URL.

    Raise ValueError if it is invalid, or if clients may interpret it differently.
    """
    if len(uri) > MAX_BYTES:
        raise ValueError(f"one of {len(uri)} characters, more than {MAX_BYTES}.")
    if not _ALLOWED.fullmatch(uri):
        raise ValueError(f"{uri[:80]!r}, which has characters that are invalid in a URL.")
    url = urlsplit(uri)
    if url.scheme not in PORTS or not url.hostname:
        raise ValueError(f"{uri[:80]!r}.")
    if "@" in url.netloc:
        # The message omits the URL, which may contain a password.
        raise ValueError("one with a user name.")
    if url.fragment or re.search(r"(^|/)(\.|%2e){1,2}(/|;|%3b|$)|%2f|%5c", url.path, re.IGNORECASE):
        raise ValueError(f"{uri[:80]!r}, which has a fragment, or steps up in its path.")
    _ = url.port
    return url


def is_within(url: SplitResult, prefix: SplitResult) -> bool:
    """Return whether a URL is within a prefix: the same host and port, and a path within its path."""
    if (url.scheme, url.hostname, url.port or PORTS[url.scheme]) != (
        prefix.scheme,
        prefix.hostname,
        prefix.port or PORTS[prefix.scheme],
    ):
        return False
    folder = prefix.path.rstrip("/")
    return url.path in (prefix.path, folder) or url.path.startswith(f"{folder}/")


#: IPv6 prefix that contains an IPv4 address, to which a translator on the path would connect.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
#: The IPv6 addresses that are assigned to the Internet. Python also regards others as global, such as those
#: of a site and of local translators.
_UNICAST = ipaddress.ip_network("2000::/3")
#: IPv4 addresses of protocols (RFC 6890), of which Python knows a part.
_PROTOCOLS = ipaddress.ip_network("192.0.0.0/24")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def resolve_host(host: str, port: int) -> list[str]:
    """Return the addresses of a host. Raise OSError if it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]


def is_public(text: str) -> bool:
    """Return whether an address is public: not loopback, private, link-local or the like."""
    address: _Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        elif address.sixtofour is not None:
            address = address.sixtofour
        elif address.teredo is not None or address not in _UNICAST:
            return False
    if address in _PROTOCOLS:
        return False
    return address.is_global and not address.is_multicast


class TargetRefusedError(Exception):
    """A URL at an address that is not allowed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The resolved address of a URL."""

    address: str
    port: int
    host: str  # the host name, for the certificate and the `Host` header
    path: str
    is_tls: bool

    @property
    def authority(self) -> str:
        """The value of the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS["https" if self.is_tls else "http"] else f"{host}:{self.port}"


def resolve_target(
    url: SplitResult, resolve: Callable[[str, int], Sequence[str]], *, allow_private: bool
) -> Target:
    """Resolve a URL.

    Args:
        resolve: returns the addresses of a host and port.

    Raises:
        TargetRefusedError: the address is not allowed.
        OSError: its host has no address.
    """
    host, port = str(url.hostname), url.port or PORTS[url.scheme]
    addresses = resolve(host, port)
    # One forbidden address is enough: a host with both kinds may be an attack.
    if not allow_private and not all(map(is_public, addresses)):
        raise TargetRefusedError(f"{host} has an address that is not public.")
    path = url.path or "/"
    return Target(
        address=addresses[0],
        port=port,
        host=host,
        path=f"{path}?{url.query}" if url.query else path,
        is_tls=url.scheme == "https",
    )
