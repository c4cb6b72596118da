"""A call that came over HTTP, as handlers and interceptors of gRPC see it."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import grpc
from google.rpc import status_pb2

from headstart_server.api.http.in_process_server import Metadatum

_DETAILS = "grpc-status-details-bin"


class HttpContext:
    """What handlers use of a `grpc.aio.ServicerContext`; there is no connection of gRPC behind it.

    Args:
        peer: who calls, in gRPC's form, such as `ipv4:127.0.0.1:1234`.
        auth: the properties of the caller's certificate, as in gRPC; empty without one.
        timeout: seconds until the caller's deadline; None for none.
    """

    def __init__(
        self,
        metadata: Sequence[Metadatum],
        peer: str,
        auth: Mapping[str, Sequence[bytes]],
        timeout: float | None,
    ) -> None:
        self._metadata = tuple(metadata)
        self._peer = peer
        self._auth = dict(auth)
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._status = status_pb2.Status()
        self._trailing: Sequence[Any] = ()
        #: Whether the caller left before its request was whole.
        self.broke_off = False

    @property
    def status(self) -> status_pb2.Status:
        """What the call was aborted with."""
        return self._status

    def invocation_metadata(self) -> tuple[Metadatum, ...]:
        """What came with the call."""
        return self._metadata

    def peer(self) -> str:
        """Who calls."""
        return self._peer

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """What the caller's certificate says."""
        return self._auth

    def peer_identities(self) -> Sequence[bytes] | None:
        """The names in the caller's certificate; None without one."""
        key = self.peer_identity_key()
        return None if key is None else self._auth[key]

    def peer_identity_key(self) -> str | None:
        """What the names of `peer_identities` are."""
        for key in ("x509_subject_alternative_name", "x509_common_name"):
            if self._auth.get(key):
                return key
        return None

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    async def send_initial_metadata(self, metadata: Sequence[Any]) -> None:
        """Nothing is sent: answers have headers of their own.

        Raise InternalError if the caller left before its request was whole, as with gRPC.
        """
        del metadata
        if self.broke_off:
            raise grpc.aio.InternalError("The caller has left.")

    def set_trailing_metadata(self, metadata: Sequence[Any]) -> None:
        """Keep what would be sent at the end."""
        self._trailing = metadata

    def trailing_metadata(self) -> Sequence[Any]:
        """What would be sent at the end."""
        return self._trailing

    def set_code(self, code: grpc.StatusCode) -> None:
        """Note the code of the answer."""
        self._status.code = code.value[0]

    def code(self) -> int:
        """The code of the answer, as a number."""
        return int(self._status.code)

    def set_details(self, details: str) -> None:
        """Note the message of the answer."""
        self._status.message = details

    def details(self) -> str:
        """The message of the answer."""
        return str(self._status.message)

    def cancelled(self) -> bool:
        """Whether the caller has left."""
        return self.broke_off

    def done(self) -> bool:
        """Whether the call was aborted."""
        return bool(self._status.code)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Nothing is called: what ends with a call ends in its task here."""

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Sequence[Any] = ()
    ) -> NoReturn:
        """End the call with an error, by raising AbortError."""
        packed = next((entry[1] for entry in trailing_metadata if entry[0] == _DETAILS), None)
        if packed is not None:
            self._status = status_pb2.Status.FromString(packed)
        else:
            self._status = status_pb2.Status(code=code.value[0], message=details)
        self._trailing = trailing_metadata
        raise grpc.aio.AbortError(details)

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """End the call with an error that has details, by raising AbortError."""
        await self.abort(status.code, status.details, tuple(status.trailing_metadata or ()))
