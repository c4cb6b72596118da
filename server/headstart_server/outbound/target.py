"""Where a URL leads, looked up once: what was checked is what is connected to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult

from headstart_server.outbound.addresses import is_public
from headstart_server.outbound.urls import PORTS


class Refused(Exception):
    """A URL that nothing may be sent to or asked of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where a URL leads.

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
        return host if self.port == PORTS["https" if self.is_tls else "http"] else f"{host}:{self.port}"


def target_of(
    url: SplitResult, resolve: Callable[[str, int], Sequence[str]], *, allow_private: bool
) -> Target:
    """Where a URL leads now.

    Args:
        url: it.
        resolve: gives the addresses of a host and port.
        allow_private: whether they may be others than of the internet.

    Raises:
        Refused: it leads where nothing may be asked.
        OSError: its host has no address.
    """
    host, port = str(url.hostname), url.port or PORTS[url.scheme]
    addresses = resolve(host, port)
    # One of them is enough: a name that has both is no honest one.
    if not allow_private and not all(map(is_public, addresses)):
        raise Refused(f"{host} is at an address that is not of the internet.")
    path = url.path or "/"
    return Target(
        address=addresses[0],
        port=port,
        host=host,
        path=f"{path}?{url.query}" if url.query else path,
        is_tls=url.scheme == "https",
    )
