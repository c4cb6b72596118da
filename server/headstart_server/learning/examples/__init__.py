"""Labeled examples, and what datasets of them must be like."""
