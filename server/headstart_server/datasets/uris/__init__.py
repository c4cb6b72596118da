"""Datasets at URIs: which may be read, and how their examples are read."""
