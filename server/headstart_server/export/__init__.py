"""Versions as networks for other runtimes: made one at a time, and kept while they last."""
