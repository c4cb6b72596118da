"""The asynchronous client: `Client` for asyncio."""

from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType

import grpc
from grpc import aio

from headstart.async_handles import AsyncModelHandle
from headstart.async_methods import AsyncClientMethods
from headstart.base_client import BaseClient
from headstart.client import Client
from headstart.dataset_handle import AsyncDatasetHandle
from headstart.transport.async_wire import AsyncWire
from headstart.transport.connection import Connection
from headstart.transport.retries import RetryPolicy
from headstart.transport.settings import channel_settings
from headstart.transport.tokens import Token
from headstart.twins import async_iterator, coroutine


class AsyncClient(BaseClient, AsyncClientMethods):
    """Fine-tune models on a Headstart server and predict with them; as `Client`, on one event loop.

    Files are read in threads; callbacks are called on the event loop. Uploads use a synchronous channel: they
    pass through the interceptors of `grpc`, all other calls through those of `grpc.aio`.

    Examples:
        >>> async with AsyncClient("localhost:8765") as client:
        ...     job = await client.fine_tune("pets/", model="pets")
        ...     version = await job.result()
        ...     prediction = await client.predict("cat.jpg", model="pets")
    """

    _wire = AsyncWire

    close = coroutine(Client.close)
    ready = coroutine(Client.ready)
    server_info = coroutine(Client.server_info)
    who_am_i = coroutine(Client.who_am_i)
    usage = coroutine(Client.usage)
    datasets = async_iterator(Client.datasets)

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
        """Return a client that uses your channels; as `Client.from_channel`.

        Examples are sent over the synchronous `upload_channel`; without one, the client cannot fine-tune,
        validate, evaluate or compare.
        """
        settings = channel_settings(timeout=timeout, metadata=metadata, token=token, retries=retries)
        return cls._over(Connection(settings, AsyncWire(settings, channel, upload_channel)))

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def dataset(self, name: str) -> AsyncDatasetHandle:
        """Return a handle of a dataset without sending a call; as `Client.dataset`."""
        return AsyncDatasetHandle(self._connection, name)

    def model(self, name: str) -> AsyncModelHandle:
        """Return a handle of a model without sending a call; as `Client.model`."""
        return AsyncModelHandle(self, name)
