"""Labeled examples, and the requirements of datasets."""
