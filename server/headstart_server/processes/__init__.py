"""Several serving processes that share one engine: supervisor, channels and remote backbones."""
