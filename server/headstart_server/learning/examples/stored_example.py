"""Examples and contents as archives store them."""

import json
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from headstart_server.backbones.contract.backbone import Content
from headstart_server.learning.examples.target import Target


def encode(content: Content) -> tuple[str, bytes]:
    """Return the kind of a content, and its bytes as they are stored."""
    if isinstance(content, bytes):
        return "image", content
    if isinstance(content, str):
        return "text", content.encode()
    header = json.dumps({"dtype": content.dtype.str, "shape": content.shape}).encode()
    return "tensor", header + b"\n" + np.ascontiguousarray(content).tobytes()


def decode(kind: str, content: bytes) -> Content:
    """Return the content that `encode` encoded."""
    if kind == "image":
        return content
    if kind == "text":
        return content.decode()
    header, _, data = content.partition(b"\n")
    fields = json.loads(header)
    return np.frombuffer(data, dtype=fields["dtype"]).reshape(fields["shape"])


class StoredExample(NamedTuple):
    """An example without its content, which is member `member` of the archive of job `archive`.

    It is a tuple, because a list of many is read and written by columns.
    """

    target: Target
    id: str
    held_out: bool
    digest: str
    kind: str
    weight: float = 1.0
    archive: str = ""
    member: int = 0
    media_type: str = ""  # media type of the content; empty if it is unknown
    nbytes: int = 0  # size of the content in bytes; 0 if it is unknown
    feedback: bool = False  # whether it came from feedback on a prediction


def exclusion_mark(digest: str) -> str:
    """Return the mark of an excluded content in lists, which keep no digest of it."""
    return sha256(f"excluded {digest}".encode()).hexdigest()[:32]
