"""Where artifacts lie: a directory, or a bucket that replicas share; names and bytes, no versions."""
