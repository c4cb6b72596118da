"""The checksum of the examples of a dataset, as `WriteExamplesRequest.sha256` defines it."""

import struct
from collections.abc import Iterable
from hashlib import sha256

from headstart.v1 import input_pb2, label_pb2

NO_EXAMPLES = bytes(32)
"""The checksum of a dataset without examples."""


def checksum_after(checksum: bytes, examples: Iterable[input_pb2.Example]) -> bytes:
    """Return the checksum of a dataset after further examples."""
    for example in examples:
        digest = sha256(checksum)
        for part in (example.example_id.encode(), _content(example.input), _label(example.label)):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        checksum = digest.digest()
    return checksum


def _content(message: input_pb2.Input) -> bytes:
    kind = message.WhichOneof("content")
    if kind == "text":
        return message.text.encode()
    return message.tensor.data if kind == "tensor" else message.image


def _label(label: label_pb2.Label) -> bytes:
    kind = label.WhichOneof("value")
    if kind == "classes":
        names = sorted(name.encode() for name in label.classes.class_names)
        return b"".join(name + b"\0" for name in names)
    if kind == "number":
        return struct.pack(">d", label.number)
    if kind == "probabilities":
        shares = sorted((name.encode(), share) for name, share in label.probabilities.probabilities.items())
        return b"".join(name + b"\0" + struct.pack(">d", share) for name, share in shares)
    return label.class_name.encode()
