"""Networks in memory: their declaration, card, golden features and execution."""
