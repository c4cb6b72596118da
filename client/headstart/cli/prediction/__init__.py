"""The commands that predict, and the review of predictions in the terminal."""
