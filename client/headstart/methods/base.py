"""The connection that the methods of a client share."""

from headstart.transport.connection import Connection


class Methods:
    """A group of methods over one connection."""

    _connection: Connection
