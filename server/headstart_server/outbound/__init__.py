"""Guarded connections to URLs that callers name: addresses, targets and time limits."""
