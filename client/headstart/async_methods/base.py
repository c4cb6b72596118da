"""The connection of the methods of a client."""

from headstart.transport.async_connection import AsyncConnection


class AsyncMethods:
    """A group of methods over one connection."""

    _connection: AsyncConnection
