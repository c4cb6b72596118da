"""What a backbone is and does, as values that every other room may use."""
