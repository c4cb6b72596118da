"""The calls of the contract over HTTP: JSON, images and files."""
