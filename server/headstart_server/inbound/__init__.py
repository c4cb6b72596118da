"""Limits of connections, and host names, of the server's own ports."""
