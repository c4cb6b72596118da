"""x."""
hub_texts = None
