"""Versions, their artifacts, and the registry of names and aliases."""
