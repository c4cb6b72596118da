"""Calls of the contract as values without I/O, and sequences of calls."""
