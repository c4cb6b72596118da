"""Sources of networks: one module for each kind."""
