"""What inputs are turned into before a network sees them."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones import pictures, texts
from headstart_server.backbones.backbone import Content, Modality
from headstart_server.backbones.pictures import CROP, PictureDecoder
from headstart_server.backbones.texts import TextDecoder


class Decoder(Protocol):
    """Turns one input into one row."""

    def decode(self, content: Content) -> NDArray[np.generic]:
        """See `Backbone.decode`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Pictures become uint8 [size, size, 3].

    Attributes:
        size: height and width in pixels.
        crop: part of the shorter side that the centre crop keeps.
    """

    size: int
    crop: float = CROP

    modality = Modality.IMAGE

    @property
    def preprocessing(self) -> str:
        """Changes whenever the same content becomes other rows; part of the digest."""
        return pictures.preprocessing(self.crop)

    def decoder(self, *, max_pixels: int) -> PictureDecoder:
        """What decodes so.

        Args:
            max_pixels: the most pixels of a picture.
        """
        return PictureDecoder(self.size, crop=self.crop, max_pixels=max_pixels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """Texts become int32 ids [length], padded to one of few lengths.

    Attributes:
        tokenizer: contents of a ``tokenizer.json``.
        max_tokens: most ids of a row.
        pad_id: fills up rows; the network tells padding from text by it.
    """

    tokenizer: str
    max_tokens: int
    pad_id: int = 0

    modality = Modality.TEXT

    @property
    def preprocessing(self) -> str:
        """Changes whenever the same text becomes other ids; part of the digest."""
        return f"{texts.PREPROCESSING}, {sha256(self.tokenizer.encode()).hexdigest()}"

    def decoder(self, *, max_pixels: int) -> TextDecoder:  # noqa: ARG002 - texts have none
        """What decodes so."""
        return TextDecoder(self.tokenizer, max_tokens=self.max_tokens, pad_id=self.pad_id)


#: How inputs of a backbone are decoded.
Decoding = Pictures | Tokens


def decoding_of(values: Mapping[str, Any]) -> Decoding:
    """From a card: ``modality`` and the attributes of its kind."""
    settings = {name: value for name, value in values.items() if name != "modality"}
    return _KINDS[Modality(values["modality"])](**settings)


_KINDS: Mapping[Modality, type[Decoding]] = {Modality.IMAGE: Pictures, Modality.TEXT: Tokens}
