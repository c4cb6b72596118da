"""A terminal: its keys, and the images that it can show."""
