"""SentencePiece models, read without their package, whose classes need a newer protobuf."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headstart_server.backbones.sources.protobuf_wire import fields_by_number
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
    """A unigram model."""

    scores: Mapping[str, float]  # log probabilities by piece
    unknown: str
    normalization: bytes  # compiled character map; empty for none


def read_model(proto: bytes) -> PieceModel:
    """Read a ``.model`` file; raise `SourceError` unless it is a unigram model with an unknown piece."""
    try:
        fields = fields_by_number(proto)
        pieces = [fields_by_number(piece) for piece in fields[_PIECES]]
        trainer, normalizer = (fields_by_number(b"".join(fields[name])) for name in (_TRAINER, _NORMALIZER))
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
