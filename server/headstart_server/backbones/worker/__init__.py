"""Processes that prepare backbones, train tails and export versions."""
