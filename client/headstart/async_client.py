"""The asynchronous client: `Client` for asyncio."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any

import grpc
from grpc import aio

from headstart.async_handles import AsyncModelHandle
from headstart.async_methods import AsyncClientMethods
from headstart.calls import calls, server_calls
from headstart.errors import DeadlineExceeded, Unavailable
from headstart.results import (
    Caller,
    ServerInfo,
    Usage,
)
from headstart.transport.async_connection import AsyncChannels, AsyncConnection
from headstart.transport.channel import TlsConfig
from headstart.transport.retries import RetryPolicy
from headstart.transport.settings import changed_settings, channel_settings, connection_settings
from headstart.transport.tokens import Token

__all__ = ["AsyncClient"]


class AsyncClient(AsyncClientMethods):
    """Fine-tune models on a Headstart server and predict with them, on one event loop.

    Arguments, results and errors of every method are those of `Client`. Files are read in threads; callbacks
    are called on the event loop.

    Args:
        server: ``host:port``, or a gRPC target such as ``dns:///headstart:8765``. All addresses of the name
            take turns. None: ``HEADSTART_SERVER``, or ``localhost:8765``.
        tls: True or a `TlsConfig` for a secured connection, False for plain text. None: TLS with the files of
            ``HEADSTART_CA``, ``HEADSTART_CERT`` and ``HEADSTART_KEY``, or plain text if none is set.
        timeout: seconds each call may take with all its retries, except uploads; `math.inf` for no limit.
            None: ``HEADSTART_TIMEOUT``, or 60.
        metadata: sent along with each call.
        token: the bearer token of each call, sent over TLS or within this machine only; or a function that
            returns one, called again when the server rejects it as UNAUTHENTICATED. None:
            ``HEADSTART_TOKEN``, or no token.
        retries: how often a call that no server answered is repeated, or a whole `RetryPolicy`. 0: never.
        interceptors: gRPC interceptors, the first outermost. Uploads use a synchronous channel: they pass
            through the interceptors of `grpc`, all other calls through those of `grpc.aio`.

    Raises:
        OSError: a certificate or key cannot be read.
        ValueError: an argument or an environment variable is invalid, a certificate or its key is missing, or
            a token would leave this machine in plain text.

    Example:
        >>> async with AsyncClient("localhost:8765") as client:
        ...     job = await client.fine_tune("pets/", model="pets")
        ...     version = await job.result()
        ...     prediction = await client.predict("cat.jpg", model="pets")
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        tls: bool | TlsConfig | None = None,
        timeout: float | timedelta | None = None,
        metadata: Mapping[str, str] | None = None,
        token: Token | None = None,
        retries: int | RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
        interceptors: Sequence[Any] = (),
    ) -> None:
        settings = connection_settings(
            server,
            tls=tls,
            timeout=timeout,
            metadata=metadata,
            token=token,
            retries=retries,
            interceptors=interceptors,
        )
        self._connection = AsyncConnection(settings)

    @classmethod
    def from_channel(
        cls,
        channel: aio.Channel,
        *,
        upload_channel: grpc.Channel | None = None,
        timeout: float | timedelta | None = None,
        metadata: Mapping[str, str] | None = None,
        token: Token | None = None,
        retries: int | RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
    ) -> "AsyncClient":
        """Return a client that uses your channels; closing it leaves them open.

        Args:
            channel: the channel. Allow messages of 64 MiB (``grpc.max_receive_message_length``).
            upload_channel: a synchronous channel to the same server, for uploads of examples. None: the
                client cannot fine-tune, validate, evaluate or compare.
            timeout: as for `Client`.
            metadata: as for `Client`.
            token: as for `Client`; the channel must secure it. None: no token.
            retries: as for `Client`.
        """
        settings = channel_settings(timeout=timeout, metadata=metadata, token=token, retries=retries)
        return cls._over(AsyncConnection(settings, AsyncChannels(settings, channel, upload_channel)))

    @classmethod
    def _over(cls, connection: AsyncConnection) -> "AsyncClient":
        client = cls.__new__(cls)
        client._connection = connection
        return client

    def with_options(
        self,
        *,
        timeout: float | timedelta | None = None,
        retries: int | RetryPolicy | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> "AsyncClient":
        """Return a client with other options over the same connection; as `Client.with_options`."""
        settings = changed_settings(
            self._connection.settings, timeout=timeout, retries=retries, metadata=metadata
        )
        return self._over(self._connection.with_settings(settings))

    def __repr__(self) -> str:
        return f"AsyncClient({self._connection.settings.server!r})"

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the calls in flight and close the connection. Jobs continue."""
        await self._connection.close()

    async def ready(self, timeout: float = 5.0) -> bool:
        """Return whether a server answers within `timeout` seconds that it is ready."""
        try:
            return await self._connection.send(calls.health(), timeout)
        except (Unavailable, DeadlineExceeded):
            return False

    async def server_info(self) -> ServerInfo:
        """Return the release, limits, features and default backbones of the server."""
        return await self._connection.send(server_calls.server_info())

    async def who_am_i(self) -> Caller:
        """Return the identity and permissions of the caller."""
        return await self._connection.send(server_calls.who_am_i())

    async def usage(self) -> Usage:
        """Return the usage and the limits of the caller's tenant."""
        return await self._connection.send(server_calls.usage())

    def model(self, name: str) -> AsyncModelHandle:
        """Return a handle of a model without sending a call; as `Client.model`."""
        return AsyncModelHandle(self, name)
