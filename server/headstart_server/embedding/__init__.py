"""Inputs to features for everybody: lanes, batches, decoding and the feature cache."""
