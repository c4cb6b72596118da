"""The options that the synchronous and the asynchronous client share."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Self

from headstart.transport.async_wire import AsyncWire
from headstart.transport.blocking_wire import BlockingWire
from headstart.transport.channel import TlsConfig
from headstart.transport.connection import Connection
from headstart.transport.retries import RetryPolicy
from headstart.transport.settings import changed_settings, connection_settings
from headstart.transport.tokens import Token


class BaseClient:
    """A client with its connection."""

    _wire: ClassVar[type[BlockingWire] | type[AsyncWire]]

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
        self._connection = Connection(settings, self._wire(settings))

    @classmethod
    def _over(cls, connection: Connection) -> Self:
        client = cls.__new__(cls)
        client._connection = connection
        return client

    def with_options(
        self,
        *,
        timeout: float | timedelta | None = None,
        retries: int | RetryPolicy | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Self:
        """Return a client with other options over the same connection. Closing it leaves the connection open.

        Args:
            timeout: as for `Client`. None: unchanged.
            retries: as for `Client`. None: unchanged.
            metadata: added to the metadata of each call; replaces equal keys. None: unchanged.

        Examples:
            >>> client.with_options(timeout=5, retries=0).predict("cat.jpg", model="pets")
        """
        settings = changed_settings(
            self._connection.settings, timeout=timeout, retries=retries, metadata=metadata
        )
        return self._over(self._connection.with_settings(settings))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection.settings.server!r})"
