"""The calls of the contract as values without I/O, and their sequences."""
