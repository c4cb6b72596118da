"""Datasets that lie elsewhere: which URIs may be read, reading them within bounds, and what a list of them names."""
