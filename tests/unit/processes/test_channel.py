"""Messages between processes: values, secrets and open files."""

import os
import socket
import threading

import pytest

from headstart_server.processes.channel import Channel
from headstart_server.settings.secret import Secret
from headstart_server.settings.settings import Settings


def pair() -> tuple[Channel, Channel]:
    one, other = Channel.pair()
    return one, Channel(other)


def test_values_come_in_order_from_many_threads():
    one, other = pair()
    threads = [
        threading.Thread(target=lambda name=name: [one.send((name, place)) for place in range(50)])
        for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    received = [other.receive()[0] for _ in range(200)]
    for name in "abcd":
        assert [place for sender, place in received if sender == name] == list(range(50))


def test_a_large_value_comes_whole():
    one, other = pair()
    content = os.urandom(3 << 20)
    sending = threading.Thread(target=one.send, args=(content,))
    sending.start()
    assert other.receive() == (content, [])
    sending.join()


def test_files_come_with_their_message():
    one, other = pair()
    left, right = socket.socketpair()
    with left, right:
        one.send("first")
        one.send("second", [left.fileno()])
        assert other.receive() == ("first", [])
        value, (descriptor,) = other.receive()
        assert value == "second"
        assert not os.get_inheritable(descriptor)
        with socket.socket(fileno=descriptor) as copy:
            copy.send(b"x")
            assert right.recv(1) == b"x"


def test_secrets_of_settings_reach_the_other_process():
    one, other = pair()
    one.send(Settings.of(database="postgresql://user:word@host/name"))
    one.send(Secret("word"))
    assert other.receive()[0].storage.database_url == "postgresql://user:word@host/name"
    assert other.receive()[0] == Secret("word")


def test_the_end_of_the_other_process_ends_the_wait():
    one, other = pair()
    one.close()
    with pytest.raises(EOFError):
        other.receive()
    with pytest.raises(OSError):  # noqa: PT011 - either end of a broken connection
        other.send("lost" * (1 << 20))
