"""Tokenization: from a text to the token IDs for a network."""

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from headstart_server.backbones.contract.backbone import Content, Truncation
from headstart_server.errors import UndecodableInput, WrongModality

#: Default maximum tokens of a text, including start and end.
MAX_TOKENS = 256

#: Length of the shortest row. The length is the smallest power of two, from this one, that holds the text.
SHORTEST = 16

#: Maximum characters of a text that are tokenized per kept token, which limits a tokenizer's work.
CHARACTERS_PER_TOKEN = 64

#: Changes whenever the same text gives other IDs.
PREPROCESSING = (
    f"texts/1: as the tokenizer's file says, cut off at the end, {CHARACTERS_PER_TOKEN} characters a token "
    f"at most, padded to powers of two from {SHORTEST}"
)


class TextDecoder:
    """Convert texts to rows of IDs, in the same way for training and serving. Thread-safe.

    Args:
        tokenizer: content of a ``tokenizer.json``; its truncation and padding are ignored.
        max_tokens: maximum IDs of a row, including start and end.
        pad_id: fills a row up to its length; no text contains it.
    """

    def __init__(self, tokenizer: str, *, max_tokens: int = MAX_TOKENS, pad_id: int = 0) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self._pad_id = pad_id
        self._max_tokens = max_tokens
        self._max_characters = max_tokens * CHARACTERS_PER_TOKEN
        self.lengths = lengths(max_tokens)

    def decode(self, content: Content) -> NDArray[np.int32]:
        """Convert the first `max_tokens` tokens of one text to IDs; see `truncation`.

        Returns:
            int32 [length], with the smallest of `lengths` that holds the text.

        Raises:
            UndecodableInput: the text has no token: it is empty, or has only spaces.
        """
        return self.decode_with_truncation(content)[0]

    def decode_with_truncation(self, content: Content) -> tuple[NDArray[np.int32], Truncation | None]:
        """Return the row of `decode` and the truncation of `truncation`, tokenizing once."""
        encoding = self._encode(content)
        ids = encoding.ids
        row = np.full(next(length for length in self.lengths if length >= len(ids)), self._pad_id, np.int32)
        row[: len(ids)] = ids
        return row, self._cut(encoding, content)

    def truncation(self, content: Content) -> Truncation | None:
        """Return the truncation of a text; None if its row contains all of it. Raises as `decode`."""
        # A token of ASCII has at least one character, and two tokens mark start and end. For each other
        # character, byte tokenizers produce several tokens.
        if isinstance(content, str) and content.isascii() and len(content) <= self._max_tokens - 2:
            return None
        return self._cut(self._encode(content), content)

    def _cut(self, encoding: Encoding, content: Content) -> Truncation | None:
        if not encoding.overflowing and len(content) <= self._max_characters:
            return None
        return Truncation(kept=max(end for _, end in encoding.offsets), length=len(content))

    def _encode(self, content: Content):  # type: ignore[no-untyped-def]  # the package has no types
        if not isinstance(content, str):
            kind = (
                "bytes" if isinstance(content, bytes) else f"{content.dtype} of shape {list(content.shape)}"
            )
            raise WrongModality(f"Expected a text. Received: {kind}.")
        try:
            encoding = self._tokenizer.encode(content[: self._max_characters])
        except (TypeError, UnicodeError) as error:  # half a surrogate pair, which no UTF-8 has
            raise UndecodableInput(f"Expected a text of Unicode characters. Received: {error}.") from error
        if all(encoding.special_tokens_mask):
            what = f"{len(content)} characters of space or control" if content else "an empty text"
            raise UndecodableInput(f"Expected a text with something to read. Received: {what}.")
        return encoding


def lengths(max_tokens: int) -> tuple[int, ...]:
    """Return the possible lengths of rows, ascending."""
    powers = []
    length = SHORTEST
    while length < max_tokens:
        powers.append(length)
        length *= 2
    return (*powers, max_tokens)
