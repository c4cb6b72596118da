"""Messages between two processes of one server: pickled values and open files over a Unix socket."""

import array
import io
import pickle
import socket
import struct
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from headstart_server.settings.secret import Secret


class ProcessEndedError(Exception):
    """A process ended before the server had started; it printed the reason."""


#: Header of a message: its bytes, and the number of its files.
_HEADER = struct.Struct("!QI")
#: Maximum files of a message.
_MAX_FILES = 4


class Channel:
    """One end of a connected pair of sockets. Any thread may send; one thread receives.

    Both ends are processes of the same server, which the supervisor connected: the sockets have no name, so
    no other process can reach them.

    Args:
        connected: the socket; the channel closes it.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        weakref.finalize(self, connected.close)
        self._lock = threading.Lock()

    @staticmethod
    def pair() -> tuple["Channel", socket.socket]:
        """Return one end of a new connection, and the socket of the other end."""
        own, other = socket.socketpair()
        return Channel(own), other

    def send(self, message: object, files: Sequence[int] = ()) -> None:
        """Send a value, and copies of open files.

        Raise OSError if the other process ended.
        """
        body = pickled(message)
        header = _HEADER.pack(len(body), len(files))
        with self._lock:
            if files:
                socket.send_fds(self._socket, [header], list(files))
                self._socket.sendall(body)
            else:
                self._socket.sendall(header + body)

    def receive(self) -> tuple[Any, list[int]]:
        """Wait for a message; return its value and its files.

        Raise EOFError if the other process ended.
        """
        try:
            header, files = received(self._socket, _HEADER.size, _MAX_FILES)
            if len(header) < _HEADER.size:
                header += self._exactly(_HEADER.size - len(header))
            nbytes, _ = _HEADER.unpack(header)
            return pickle.loads(self._exactly(nbytes)), files
        except OSError as error:
            raise EOFError(str(error)) from error

    def close(self) -> None:
        """Close the connection; a thread that receives gets `EOFError`."""
        # The other end may be closed.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._socket.recv(min(count - len(parts), 1 << 20))
            if not part:
                raise EOFError("The other process closed the connection.")
            parts += part
        return bytes(parts)


def received(connected: socket.socket, nbytes: int, most_files: int) -> tuple[bytes, list[int]]:
    """Receive bytes with files, which programs that this process starts do not inherit."""
    files = array.array("i")
    space = socket.CMSG_LEN(most_files * files.itemsize)
    content, parts, _, _ = connected.recvmsg(nbytes, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in parts:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            files.frombytes(data[: len(data) - len(data) % files.itemsize])
    return content, list(files)


class _Pickler(pickle.Pickler):
    """Also pickles secrets, which is safe here: the values stay within one server."""

    def reducer_override(self, value: Any) -> Any:
        return (Secret, (value.reveal(),)) if isinstance(value, Secret) else NotImplemented


def pickled(value: object) -> bytes:
    """Return a pickled value, including its secrets, for another process of this server."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()
