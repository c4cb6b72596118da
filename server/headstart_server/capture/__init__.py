"""Inputs of Predict calls that are stored for review."""
