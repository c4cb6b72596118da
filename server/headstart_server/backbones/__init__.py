"""Pretrained networks with their preprocessing, and what executes them."""
