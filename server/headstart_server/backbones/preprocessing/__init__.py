"""Conversion of images and texts to the input arrays of networks."""
