"""Archives of examples, their parents, retention and erasure."""
