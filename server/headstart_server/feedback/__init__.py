"""Feedback of people on predictions, and automatic retraining from it."""
