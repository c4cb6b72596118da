"""The connection that the methods of a client share."""

from headstart.transport.async_connection import AsyncConnection


class AsyncMethods:
    """A group of methods over one connection."""

    _connection: AsyncConnection
