"""Channels, connections, retries and streams."""
