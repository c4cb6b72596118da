"""The context of a call over HTTP, for the handlers and interceptors of gRPC."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import grpc
from google.rpc import status_pb2

from headstart_server.api.http.in_process_server import Metadatum

_DETAILS = "grpc-status-details-bin"


class HttpContext:
    """The methods of `grpc.aio.ServicerContext` that handlers use, without a gRPC connection.

    Args:
        peer: the caller's address in gRPC's form, such as `ipv4:127.0.0.1:1234`.
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
        #: Whether the caller disconnected before its request was complete.
        self.broke_off = False

    @property
    def status(self) -> status_pb2.Status:
        """The status with which the call was aborted."""
        return self._status

    def invocation_metadata(self) -> tuple[Metadatum, ...]:
        """Return the metadata of the call."""
        return self._metadata

    def peer(self) -> str:
        """Return the caller's address."""
        return self._peer

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """Return the properties of the caller's certificate."""
        return self._auth

    def peer_identities(self) -> Sequence[bytes] | None:
        """Return the names in the caller's certificate; None without one."""
        key = self.peer_identity_key()
        return None if key is None else self._auth[key]

    def peer_identity_key(self) -> str | None:
        """Return the property that the names of `peer_identities` belong to."""
        for key in ("x509_subject_alternative_name", "x509_common_name"):
            if self._auth.get(key):
                return key
        return None

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    async def send_initial_metadata(self, metadata: Sequence[Any]) -> None:
        """Send nothing, because responses have separate headers.

        Raise InternalError, as gRPC does, if the caller disconnected before its request was complete.
        """
        del metadata
        if self.broke_off:
            raise grpc.aio.InternalError("The caller has disconnected.")

    def set_trailing_metadata(self, metadata: Sequence[Any]) -> None:
        """Store the trailing metadata."""
        self._trailing = metadata

    def trailing_metadata(self) -> Sequence[Any]:
        """Return the trailing metadata."""
        return self._trailing

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the code of the response."""
        self._status.code = code.value[0]

    def code(self) -> int:
        """Return the code of the response as a number."""
        return int(self._status.code)

    def set_details(self, details: str) -> None:
        """Set the message of the response."""
        self._status.message = details

    def details(self) -> str:
        """Return the message of the response."""
        return str(self._status.message)

    def cancelled(self) -> bool:
        """Return whether the caller has disconnected."""
        return self.broke_off

    def done(self) -> bool:
        """Return whether the call was aborted."""
        return bool(self._status.code)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Do nothing: over HTTP, objects that live as long as a call end in its task."""

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
