"""An S3 for tests: moto's server on the loopback, behind a proxy that fails as a test sets."""

import itertools
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from enum import Enum
from typing import Self

import boto3
from botocore.config import Config

from server_process import free_port

HOST = "127.0.0.1"
CHUNK = 1 << 16
#: Of the server, which lets everybody in.
SECRET = "a-key-that-must-stay-secret"


class Fault(Enum):
    """What becomes of connections."""

    NONE = "none"
    #: Each is closed at once, those that stand too: as when no process listens.
    AWAY = "away"
    #: Each request is answered by 503.
    ERRORS = "errors"
    #: Each is accepted, and no request is ever answered.
    HANGING = "hanging"
    #: Each part of an answer takes its time.
    SLOW = "slow"
    #: Each removal is refused, as S3 does it without the right to delete.
    UNREMOVABLE = "unremovable"


class Proxy:
    """Hands connections on, or fails them.

    Args:
        port: of the server behind it.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._fault = Fault.NONE
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((HOST, 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Fail to the end of the block."""
        self._set(fault)
        try:
            yield
        finally:
            self._set(Fault.NONE)

    def close(self) -> None:
        self._set(Fault.AWAY)
        self._listener.close()

    def _set(self, fault: Fault) -> None:
        with self._lock:
            self._fault = fault
            # What stands was opened under another fault.
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with closing(client), suppress(OSError):
            if self._fault is Fault.AWAY:
                return
            if self._fault is Fault.HANGING:
                self._hang(client)
                return
            if self._fault is Fault.ERRORS:
                client.recv(CHUNK)
                client.sendall(
                    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                return
            with socket.create_connection((HOST, self._target)) as server:
                with self._lock:
                    self._open |= {client, server}
                try:
                    back = threading.Thread(target=self._pump, args=(server, client, True), daemon=True)
                    back.start()
                    self._pump(client, server, False)
                    back.join()
                finally:
                    with self._lock:
                        self._open -= {client, server}

    def _hang(self, client: socket.socket) -> None:
        """Read whatever comes, to the end of the fault."""
        with self._lock:
            self._open.add(client)
        try:
            while client.recv(CHUNK):
                pass
        finally:
            with self._lock:
                self._open.discard(client)

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                if answers and self._fault is Fault.SLOW:
                    time.sleep(0.2)
                if not answers and self._fault is Fault.UNREMOVABLE and (match := _REMOVAL.match(data)):
                    source.sendall(_refusal(source, data) if match["several"] else _DENIED)
                    break
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _refusal(client: socket.socket, request: bytes) -> bytes:
    """The answer to a request that removes several objects: it succeeds, and removes none."""
    while b"</Delete>" not in request:
        request += client.recv(CHUNK)
    errors = b"".join(
        b"<Error><Key>%s</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>" % key
        for key in re.findall(b"<Key>(.*?)</Key>", request)
    )
    return _answer(b"200 OK", b"<DeleteResult>%s</DeleteResult>" % errors)


def _answer(status: bytes, content: bytes) -> bytes:
    header = (
        b"HTTP/1.1 %s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    )
    return header % (status, len(content)) + content


#: Requests that remove an object, or several.
_REMOVAL = re.compile(rb"DELETE /|(?P<several>POST /[^ ?]*\?delete[ =&])")
_DENIED = _answer(
    b"403 Forbidden", b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
)


class S3Server:
    """One server with any number of buckets, in memory."""

    def __init__(self) -> None:
        port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._url = f"http://{HOST}:{port}"
        self._names = itertools.count(1)
        self.proxy = Proxy(port)
        deadline = time.monotonic() + 60
        while True:
            with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
                return
            assert time.monotonic() < deadline
            assert self._process.poll() is None
            time.sleep(0.05)

    @property
    def environment(self) -> dict[str, str]:
        """What leads the library of S3 to it, by way of the proxy."""
        return {
            "AWS_ACCESS_KEY_ID": SECRET,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.proxy.url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def bucket(self) -> str:
        """A new, empty bucket."""
        name = f"headstart-{os.getpid()}-{next(self._names)}"
        self._client().create_bucket(Bucket=name)
        return name

    def keys(self, bucket: str) -> list[str]:
        """The names of its objects."""
        pages = self._client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def get(self, bucket: str, key: str) -> bytes:
        """An object, not by way of the proxy."""
        return self._client().get_object(Bucket=bucket, Key=key)["Body"].read()

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Put an object, not by way of the proxy, as damage does."""
        self._client().put_object(Bucket=bucket, Key=key, Body=content)

    def delete(self, bucket: str, key: str) -> None:
        self._client().delete_object(Bucket=bucket, Key=key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.close()
        self._process.kill()
        self._process.wait(30)

    def _client(self):
        return boto3.client(
            "s3",
            endpoint_url=self._url,
            region_name="us-east-1",
            aws_access_key_id=SECRET,
            aws_secret_access_key=SECRET,
            config=Config(retries={"max_attempts": 1}),
        )
