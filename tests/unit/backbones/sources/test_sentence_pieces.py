"""Models of SentencePiece, read without its package."""

import struct

import pytest

from headstart_server.backbones.sources.hub_tokenizer import read_model
from headstart_server.backbones.sources.source import SourceError


def varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def field(number: int, value: bytes | int | float) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(value)


UNKNOWN = field(1, field(1, b"<unk>") + field(2, 0.0) + field(3, 2))
PIECE = field(1, field(1, "▁day".encode() * 60) + field(2, -1.5))
NORMALIZER = field(3, field(1, b"nmt_nfkc") + field(2, b"\0\1characters") + field(4, 1))


def test_pieces_their_scores_and_the_map_of_characters_are_read() -> None:
    model = read_model(UNKNOWN + PIECE + field(2, field(3, 1) + field(4, 300)) + NORMALIZER)
    assert (model.scores, model.unknown) == ({"<unk>": 0.0, "▁day" * 60: -1.5}, "<unk>")
    assert model.normalization == b"\0\1characters"


def test_what_is_not_said_has_its_usual_value() -> None:
    model = read_model(UNKNOWN + PIECE)
    assert (model.unknown, model.normalization) == ("<unk>", b"")


@pytest.mark.parametrize("trainer", [field(3, 2), field(35, 1)], ids=["pairs", "bytes"])
def test_models_of_other_kinds_are_refused(trainer: bytes) -> None:
    with pytest.raises(SourceError, match="not a unigram model, or falls back to bytes"):
        read_model(UNKNOWN + PIECE + field(2, trainer))


@pytest.mark.parametrize(
    "proto",
    [
        b"",
        PIECE,
        UNKNOWN[:-1],
        b"\xff",
        UNKNOWN + b"\x0b",
        field(1, 7),
        field(1, field(1, b"\xff") + field(3, 2)),
    ],
)
def test_damaged_models_are_refused(proto: bytes) -> None:
    with pytest.raises(SourceError, match="model is damaged"):
        read_model(proto)
