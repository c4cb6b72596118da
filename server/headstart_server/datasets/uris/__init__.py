"""Datasets at URIs: their locations, the policy of readable locations, and readers."""
