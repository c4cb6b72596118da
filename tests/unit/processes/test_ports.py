"""Ports that the supervisor holds for serving processes."""

import socket

import pytest

from headstart_server.processes.ports import ReservedPort


def listening(port: int, *, shares: bool) -> socket.socket:
    opened = socket.socket()
    if shares:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        opened.bind(("127.0.0.1", port))
        opened.listen()
    except OSError:
        opened.close()
        raise
    return opened


def test_processes_share_a_reserved_port_and_programs_that_do_not_share_get_an_error():
    with ReservedPort("127.0.0.1", 0, purpose="gRPC", flag="--port") as held:
        port = held.number
        with listening(port, shares=True), listening(port, shares=True):
            with socket.create_connection(("127.0.0.1", port), 5):
                pass
            with pytest.raises(OSError, match="in use"):
                listening(port, shares=False)


@pytest.mark.parametrize("shares", [True, False])
def test_a_port_of_another_program_is_an_error_whatever_it_shares(shares: bool):
    with listening(0, shares=shares) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            OSError, match=r"Cannot listen on .* for HTTP: .* Choose another --http-port or --host\."
        ):
            ReservedPort("127.0.0.1", port, purpose="HTTP", flag="--http-port")


def test_two_supervisors_do_not_get_the_same_port():
    with (
        ReservedPort("127.0.0.1", 0, purpose="gRPC", flag="--port") as held,
        pytest.raises(OSError, match="Cannot listen"),
    ):
        ReservedPort("127.0.0.1", held.number, purpose="gRPC", flag="--port")
