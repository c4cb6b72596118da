"""Limits of connections, so that clients cannot use up the files that a process may open."""

import resource
import socket
from collections import Counter
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Self

from headstart_server.addresses import family_of, host_and_port

#: The fraction of the connections that one address may hold.
ADDRESS_SHARE = 4
#: The fraction of this process's open files that the connections of one port may use.
_FILES_SHARE = 2
#: Maximum connections that wait to be accepted.
_BACKLOG = 2048


def usable_connections(most: int) -> int:
    """Return the maximum connections of one port under the limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else max(1, min(most, soft // _FILES_SHARE))


@lru_cache(4096)
def client_of(host: str) -> str:
    """Return the address under which limits count a client.

    For a public IPv6 address it is the network of 64 bits, because one client can use all of its addresses.
    An IPv4 address is the same on a socket of either family.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        if address.is_global:
            return str(ip_network((address, 64), strict=False))
    return host


class GuardedSocket(socket.socket):
    """A listening socket that closes connections above its limits as soon as it accepts them.

    A connection counts from here until it is closed, including its TLS handshake.

    Args:
        family: AF_INET or AF_INET6.
        most: maximum connections; one address may hold a quarter of them.
    """

    def __init__(self, family: socket.AddressFamily, most: int) -> None:
        super().__init__(family)
        self._most = most
        self._most_of_one = max(1, most // ADDRESS_SHARE)
        self._counts: Counter[str] = Counter()
        #: The number of connections that were closed because of the limits.
        self.refused = 0

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return self._counts.total()

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept the next connection within the limits."""
        while True:
            accepted, address = super().accept()
            host = client_of(address[0])
            if self._counts[host] < self._most_of_one and self.connections < self._most:
                self._counts[host] += 1
                return _Counted(accepted, self, host), address
            accepted.close()
            self.refused += 1

    def release(self, host: str) -> None:
        """Record that a connection was closed."""
        self._counts[host] -= 1
        if not self._counts[host]:
            del self._counts[host]


class _Counted(socket.socket):
    """A connection that counts until it is closed."""

    def __init__(self, accepted: socket.socket, guard: GuardedSocket, host: str) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        self._guard: GuardedSocket | None = guard
        self._host = host

    def close(self) -> None:
        super().close()
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.release(self._host)

    def __enter__(self) -> Self:
        return self


def listening(
    host: str, port: int, most: int, *, purpose: str, flag: str, is_shared: bool = False
) -> GuardedSocket:
    """Return a socket that listens, for an event loop.

    Args:
        port: 0 chooses a free one.
        most: maximum connections.
        purpose: purpose of the port, for messages.
        flag: the flag that selects another port.
        is_shared: whether other processes of this server listen on the same port.

    Raises:
        OSError: the port is in use, or the address belongs to another machine.
    """
    opened: GuardedSocket | None = None
    try:
        opened = GuardedSocket(family_of(host), usable_connections(most))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind((host, port))
        # Requests that arrive before the application is ready wait.
        opened.listen(_BACKLOG)
        opened.setblocking(False)
    except OSError as error:
        if opened is not None:
            opened.close()
        raise OSError(
            f"Cannot listen on {host_and_port(host, port)} for {purpose}: {error.strerror}. Choose another "
            f"{flag} or --host."
        ) from error
    return opened
