"""Who is calling, what they may do, and what is written down about it."""
