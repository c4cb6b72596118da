"""The interface of a backbone, and values that every other room may use."""
