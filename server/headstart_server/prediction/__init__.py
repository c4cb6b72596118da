"""Predictions of resolved versions from features."""
