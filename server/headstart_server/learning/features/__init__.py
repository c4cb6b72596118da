"""Features as matrices: scaling, blocks, compact forms and similarity."""
