"""SentencePiece models, read without their package, whose classes need a newer protobuf."""

import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headstart_server.backbones.sources.source import SourceError

#: Field numbers in ``sentencepiece_model.proto``, by message.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_PIECE, _SCORE, _TYPE = 1, 2, 3
_MODEL_TYPE, _BYTE_FALLBACK = 3, 35
_CHARACTERS = 2
#: Enumeration values in the same file.
_UNIGRAM, _UNKNOWN = 1, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class PieceModel:
    """A unigram model.

    Attributes:
        scores: log probabilities by piece.
        unknown: piece of unknown text.
        normalization: compiled character map; empty for none.
    """

    scores: Mapping[str, float]
    unknown: str
    normalization: bytes


def read_model(proto: bytes) -> PieceModel:
    """Read a ``.model`` file; raise `SourceError` unless it is a unigram model with an unknown piece."""
    try:
        fields = _fields(proto)
        pieces = [_fields(piece) for piece in fields[_PIECES]]
        trainer, normalizer = (_fields(b"".join(fields[name])) for name in (_TRAINER, _NORMALIZER))
        scores = {piece[_PIECE][-1].decode(): _float(piece[_SCORE]) for piece in pieces}
        unknown = next(piece[_PIECE][-1].decode() for piece in pieces if piece[_TYPE] == [_UNKNOWN])
    except (IndexError, ValueError, TypeError, StopIteration, struct.error) as error:
        raise SourceError(
            f"Expected a model of SentencePiece. Received: a damaged one, {type(error).__name__}: {error}."
        ) from error
    if (trainer[_MODEL_TYPE] or [_UNIGRAM]) != [_UNIGRAM] or any(trainer[_BYTE_FALLBACK]):
        raise SourceError("Expected a model of SentencePiece of unigrams, not bytes. Received: another.")
    characters: Sequence[bytes] = normalizer[_CHARACTERS]
    return PieceModel(scores=scores, unknown=unknown, normalization=characters[-1] if characters else b"")


def _float(values: Sequence[bytes]) -> float:
    return float(struct.unpack("<f", values[-1])[0]) if values else 0.0


def _fields(message: bytes) -> defaultdict[int, list[Any]]:
    """The values of a message of protobuf by number, in order: integers of varints, else bytes."""
    fields: defaultdict[int, list[Any]] = defaultdict(list)
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(message, place)
            fields[key >> 3].append(value)
            continue
        if kind == 2:
            size, place = _varint(message, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if place + size > len(message):
            raise ValueError("a field that goes on after the end")
        fields[key >> 3].append(message[place : place + size])
        place += size
    return fields


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """An integer of 7 bits a byte, least first, and where what follows it begins."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
