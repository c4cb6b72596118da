"""What the most expensive request within the limits costs a server: `make cost`."""
