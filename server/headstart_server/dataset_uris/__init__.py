"""Datasets that lie elsewhere: which URIs may be read, and reading what a list of examples names."""
