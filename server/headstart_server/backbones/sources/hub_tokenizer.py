"""Tokenizers as files of the library ``tokenizers``, so that KerasHub and TensorFlow are not needed."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from headstart_server.backbones.sources.hub_folder import Format, HubFolder, load_keras_hub, summary_of
from headstart_server.backbones.sources.protobuf_wire import fields_by_number
from headstart_server.backbones.sources.source import SourceError

#: Field numbers in ``sentencepiece_model.proto``, by message.
_PIECE_LIST, _TRAINER, _NORMALIZER = 1, 2, 3
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
        pieces = [fields_by_number(piece) for piece in fields[_PIECE_LIST]]
        trainer, normalizer = (fields_by_number(b"".join(fields[name])) for name in (_TRAINER, _NORMALIZER))
        scores = {piece[_PIECE][-1].decode(): _float(piece[_SCORE]) for piece in pieces}
        unknown = next(piece[_PIECE][-1].decode() for piece in pieces if piece[_TYPE] == [_UNKNOWN])
    except (IndexError, ValueError, TypeError, StopIteration, struct.error) as error:
        raise SourceError(
            f"The SentencePiece model is damaged: {type(error).__name__}: {error}. Download it again."
        ) from error
    if (trainer[_MODEL_TYPE] or [_UNIGRAM]) != [_UNIGRAM] or any(trainer[_BYTE_FALLBACK]):
        raise SourceError(
            "The SentencePiece model is not a unigram model, or falls back to bytes. Use another."
        )
    characters: Sequence[bytes] = normalizer[_CHARACTERS]
    return PieceModel(scores=scores, unknown=unknown, normalization=characters[-1] if characters else b"")


def _float(values: Sequence[bytes]) -> float:
    return float(struct.unpack("<f", values[-1])[0]) if values else 0.0


#: Byte tokenizers that split texts as GPT-2's does.
_BYTES = {"RobertaTokenizer", "BartTokenizer"}
#: SentencePiece tokenizers whose IDs are known to follow from the model.
_PIECES = {"XLMRobertaTokenizer", "AlbertTokenizer", "DebertaV3Tokenizer"}
#: Maximum characters of a known word.
_LONGEST_WORD = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """Content of a ``tokenizer.json``, and the ID that pads rows."""

    tokenizer: str
    pad_id: int


def tokenizer_of(folder: HubFolder) -> Words:
    """Return the tokenizer of a folder, shipped or converted from KerasHub's, or raise SourceError."""
    shipped = folder.path / "tokenizer.json"
    if folder.format is Format.TRANSFORMERS and shipped.is_file():
        return Words(
            tokenizer=shipped.read_text(encoding="utf-8"), pad_id=int(folder.config.get("pad_token_id") or 0)
        )
    try:
        made = load_keras_hub().tokenizers.Tokenizer.from_preset(str(folder.path))
    except Exception as error:  # damaged files end in nearly any
        raise SourceError(f"Expected a tokenizer in {folder.path}. Received: {summary_of(error)}.") from error
    tokenizer = _converted(made, strips=folder.format is Format.TRANSFORMERS)
    return Words(tokenizer=tokenizer.to_str(), pad_id=int(made.pad_token_id))


def _converted(made: Any, *, strips: bool) -> Any:
    """Convert a tokenizer of KerasHub; `strips`: whether lowercasing removes accents."""
    hub, name = load_keras_hub(), type(made).__name__
    if isinstance(made, hub.tokenizers.WordPieceTokenizer) and made.split:
        tokenizer = _word_pieces(made, strips=strips)
    elif name in _BYTES:
        tokenizer = _byte_pairs(made)
    elif name in _PIECES:
        tokenizer = _sentence_pieces(made)
    else:
        raise SourceError(
            f"Expected a tokenizer of word pieces, or {', '.join(sorted(_BYTES | _PIECES))}. Received: "
            f"{name}. Declare the network's folder of Hugging Face, which ships its tokenizer.json, instead."
        )
    start, end = str(made.start_token), str(made.end_token)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, int(made.start_token_id)), (end, int(made.end_token_id))],
    )
    return tokenizer


def _word_pieces(made: Any, *, strips: bool) -> Any:
    tokenizer = Tokenizer(
        models.WordPiece(
            {token: place for place, token in enumerate(made.get_vocabulary())},
            unk_token=made.oov_token,
            continuing_subword_prefix=made.suffix_indicator,
            max_input_chars_per_word=_LONGEST_WORD,
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=made.split_on_cjk,
        strip_accents=made.strip_accents or (strips and made.lowercase),
        lowercase=made.lowercase,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _byte_pairs(made: Any) -> Any:
    merges = [tuple(merge.split(" ")) for merge in made.merges if not merge.startswith("#version:")]
    vocabulary = {token: made.token_to_id(token) for token in made.get_vocabulary()}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=made.add_prefix_space)
    return tokenizer


def _sentence_pieces(made: Any) -> Any:
    model = read_model(made.proto)
    pieces = [(token, model.scores.get(token, 0.0)) for token in made.get_vocabulary()]
    unknown = next(place for place, (token, _) in enumerate(pieces) if token == model.unknown)
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=unknown, byte_fallback=False))
    if model.normalization:
        tokenizer.normalizer = normalizers.Precompiled(model.normalization)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    return tokenizer
