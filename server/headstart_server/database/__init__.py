"""The tables of the job store and the registry, and transactions on them."""
