"""Headstart measured against the servers that people would otherwise take, in one run."""
