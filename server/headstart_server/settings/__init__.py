"""The settings of a server. `groups` declares each once; flags, variables, files and docs derive from it."""
