"""Storage of artifacts: a directory, or a bucket that replicas share; names and bytes, no versions."""
