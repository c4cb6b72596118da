"""The ports of a server with several processes, which the supervisor holds for them."""

import socket
from typing import Self

from headstart_server.addresses import family_of, host_and_port


class ReservedPort:
    """A port that is bound and not listened on, so that only processes of this user may share it.

    Args:
        host: the address.
        port: 0 takes a free one.
        purpose: purpose of the port, for messages.
        flag: the flag that selects another port.

    Raises:
        OSError: the port is in use, or the address belongs to another machine.
    """

    def __init__(self, host: str, port: int, *, purpose: str, flag: str) -> None:
        # The kernel releases it with this process, and it has the scope of the ports: another supervisor must
        # not share the port before or after the processes of this one listen.
        self._mark = socket.socket(socket.AF_UNIX)
        self._socket: socket.socket | None = None
        try:
            self._socket = reserved = socket.socket(family_of(host))
            # Ignore recently closed connections.
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Without sharing first: another server on the port is an error, even if it shares the port.
            reserved.bind((host, port))
            self.number: int = reserved.getsockname()[1]
            self._mark.bind(f"\0headstart {host} {self.number}")
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except OSError as error:
            self.close()
            raise OSError(
                f"Cannot listen on {host_and_port(host, port)} for {purpose}: {error.strerror}. Choose "
                f"another {flag} or --host."
            ) from error

    def close(self) -> None:
        """Release the port."""
        if self._socket is not None:
            self._socket.close()
        self._mark.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
