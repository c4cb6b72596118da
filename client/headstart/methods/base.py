"""The connection of the methods of a client."""

from headstart.transport.connection import Connection


class Methods:
    """A group of methods over one connection."""

    _connection: Connection
