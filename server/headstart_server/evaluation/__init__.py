"""Evaluates, compares and promotes versions on stored examples."""
