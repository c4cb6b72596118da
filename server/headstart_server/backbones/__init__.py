"""Pretrained networks with their preprocessing, and the runtimes that execute them."""
