"""The bytes of gRPC calls over HTTP/2, for clients that gRPC's own channels cannot be."""

from collections.abc import Mapping

HEADERS, SETTINGS = 1, 4
INITIAL_WINDOW_SIZE = 4
_DATA, _END_STREAM, _END_HEADERS = 0, 1, 4


def call_with_empty_message(path: str, settings: Mapping[int, int] | None = None) -> bytes:
    """Return what a client sends for a call on stream 1 of a new connection."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "headstart",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    # Each is literal, and not to be remembered (RFC 7541, 6.2.2).
    block = b"".join(
        bytes([0, len(name), *name.encode(), len(value), *value.encode()]) for name, value in headers.items()
    )
    values = b"".join(
        key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in (settings or {}).items()
    )
    frames = (
        _frame(SETTINGS, 0, 0, values),
        _frame(HEADERS, _END_HEADERS, 1, block),
        _frame(_DATA, _END_STREAM, 1, bytes(5)),
    )
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(frames)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return b"".join(
        (len(payload).to_bytes(3, "big"), bytes([kind, flags]), stream.to_bytes(4, "big"), payload)
    )
