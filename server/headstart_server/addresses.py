"""Network addresses of the server's own ports."""

import socket


def host_and_port(host: str, port: int) -> str:
    """Return the text of an address, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def family_of(host: str) -> socket.AddressFamily:
    """Return the family of a host's addresses, IPv4 if it has both; raise OSError if it has none."""
    found = {each[0] for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    return socket.AF_INET if socket.AF_INET in found else socket.AF_INET6
