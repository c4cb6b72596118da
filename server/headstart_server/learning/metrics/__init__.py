"""Metrics of heads, and comparisons and decisions that rest on them."""
