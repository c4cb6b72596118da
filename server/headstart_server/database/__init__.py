"""The tables of the ledger and the registry, and transactions on them."""
