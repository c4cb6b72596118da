"""The ports of a server with several processes, which the supervisor holds for them."""

import errno
import os
import socket
from typing import Self


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
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        # The kernel releases it with this process, and it has the scope of the ports: another supervisor must
        # not share the port before or after the processes of this one listen.
        self._mark = socket.socket(socket.AF_UNIX)
        try:
            # Ignore recently closed connections.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Without sharing first: another server on the port is an error, even if it shares the port.
            self._socket.bind((host.strip("[]"), port))
            self.number: int = self._socket.getsockname()[1]
            self._mark.bind(f"\0headstart {host} {self.number}")
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except OSError as error:
            self.close()
            reason = os.strerror(error.errno or errno.EADDRINUSE)
            raise OSError(
                f"Cannot listen on {host}:{port} for {purpose}: {reason}. Choose another {flag} or --host."
            ) from error

    def close(self) -> None:
        """Release the port."""
        self._socket.close()
        self._mark.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
