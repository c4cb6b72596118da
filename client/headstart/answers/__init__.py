"""Reads the contract's messages into results."""
