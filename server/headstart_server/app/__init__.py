"""Builds the objects of a server, and starts and stops them."""
