"""Features of inputs: priority lanes, batches, decoding and the feature cache."""
