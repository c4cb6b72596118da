"""Heads, the recipes and solvers that fit them, and their calibration."""
