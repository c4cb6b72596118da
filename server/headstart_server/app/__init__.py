"""Build the objects of a server, start them and stop them."""
