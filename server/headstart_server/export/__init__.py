"""Versions exported as networks for other runtimes: created one at a time, and cached."""
