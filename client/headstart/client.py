"""The synchronous client."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import TracebackType

import grpc

from headstart.base_client import BaseClient
from headstart.calls import calls, dataset_calls, server_calls
from headstart.dataset_handle import DatasetHandle
from headstart.errors import DeadlineExceeded, Unavailable
from headstart.handles import ModelHandle
from headstart.methods import ClientMethods
from headstart.results import Caller, Dataset, ServerInfo, Usage
from headstart.transport.blocking_wire import BlockingWire
from headstart.transport.connection import Connection, Exchange
from headstart.transport.retries import RetryPolicy
from headstart.transport.settings import channel_settings
from headstart.transport.tokens import Token


class Client(BaseClient, ClientMethods):
    """Fine-tune models on a Headstart server and predict with them.

    Safe to use from many threads. Close it when done, or use it in a `with` statement. Every method raises a
    `HeadstartError` of the subclass for the error.

    Args:
        server: ``host:port``, or a gRPC target such as ``dns:///headstart:8765``. Calls are balanced over all
            addresses of the name. None: ``HEADSTART_SERVER``, or ``localhost:8765``.
        tls: True or a `TlsConfig` for TLS, False for plain text. None: TLS with the files of
            ``HEADSTART_CA``, ``HEADSTART_CERT`` and ``HEADSTART_KEY``, or plain text if none is set.
        timeout: seconds of each call with all its retries, except uploads; `math.inf` for no limit.
            None: ``HEADSTART_TIMEOUT``, or 60.
        metadata: metadata of each call.
        token: the bearer token of each call, sent over TLS or within this machine only; or a function that
            returns one, called again when the server rejects the token as UNAUTHENTICATED. None:
            ``HEADSTART_TOKEN``, or no token.
        retries: number of retries of a call that no server answered, or a `RetryPolicy`. 0: no retries.
        interceptors: gRPC interceptors, the first outermost.

    Raises:
        OSError: a certificate or key cannot be read.
        ValueError: an argument or an environment variable is invalid, a certificate or its key is missing, or
            a token would leave this machine in plain text.

    Examples:
        >>> with Client("localhost:8765") as client:
        ...     client.fine_tune("pets/", model="pets").result()
        ...     client.predict("cat.jpg", model="pets").label
    """

    _wire = BlockingWire

    @classmethod
    def from_channel(
        cls,
        channel: grpc.Channel,
        *,
        timeout: float | timedelta | None = None,
        metadata: Mapping[str, str] | None = None,
        token: Token | None = None,
        retries: int | RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
    ) -> "Client":
        """Return a client that uses your channel; closing it leaves the channel open.

        Args:
            channel: the channel. Allow messages of 64 MiB (``grpc.max_receive_message_length``).
            timeout: as for `Client`.
            metadata: as for `Client`.
            token: as for `Client`; the channel must secure it. None: no token.
            retries: as for `Client`.
        """
        settings = channel_settings(timeout=timeout, metadata=metadata, token=token, retries=retries)
        return cls._over(Connection(settings, BlockingWire(settings, channel)))

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the calls in flight and close the connection. Jobs continue."""
        return self._connection.close()

    def ready(self, timeout: float = 5.0) -> bool:
        """Return whether a server answers within `timeout` seconds that it is ready."""
        return self._connection.finish(_is_ready(self._connection.exchange, timeout))

    def server_info(self) -> ServerInfo:
        """Return the release, limits, features and default backbones of the server."""
        return self._connection.send(server_calls.server_info())

    def who_am_i(self) -> Caller:
        """Return the identity and permissions of the caller."""
        return self._connection.send(server_calls.who_am_i())

    def usage(self) -> Usage:
        """Return the usage and the limits of the caller's tenant."""
        return self._connection.send(server_calls.usage())

    def datasets(self) -> Iterator[Dataset]:
        """Yield the datasets of the server by name. Pages are requested as needed."""
        return self._connection.pages(dataset_calls.dataset_list)

    def dataset(self, name: str) -> DatasetHandle:
        """Return a handle of a dataset without sending a call: ``client.dataset("pets").upload("pets/")``."""
        return DatasetHandle(self._connection, name)

    def model(self, name: str) -> ModelHandle:
        """Return a handle of a model without sending a call: ``client.model("pets")[3].predict("cat.jpg")``.

        Raises:
            ValueError: the name contains a version.
        """
        return ModelHandle(self, name)


async def _is_ready(exchange: Exchange, timeout: float) -> bool:
    try:
        return await exchange.send(calls.health(), timeout)
    except (Unavailable, DeadlineExceeded):
        return False
