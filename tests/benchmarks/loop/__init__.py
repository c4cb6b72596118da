"""The data loop in figures: `make bench-loop` measures each step and compares it with its target."""
