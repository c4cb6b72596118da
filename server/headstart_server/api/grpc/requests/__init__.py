"""The limits of requests, and the checks and parsers that apply them."""
