"""The decoding of a backbone's inputs, as values stored in its card."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headstart_server.backbones.contract import vectors
from headstart_server.backbones.contract.backbone import Modality
from headstart_server.backbones.contract.vectors import TensorDecoder
from headstart_server.backbones.preprocessing import images, texts
from headstart_server.backbones.preprocessing.images import CROP, ImageDecoder
from headstart_server.backbones.preprocessing.texts import TextDecoder


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """Decoding of images to uint8 [size, size, 3]."""

    size: int  # height and width in pixels
    crop: float = CROP  # fraction of the shorter side that the center crop keeps

    @property
    def preprocessing(self) -> str:
        """Description that changes whenever the same content gives another row; part of the digest."""
        return images.preprocessing(self.crop)

    def decoder(self, *, max_pixels: int) -> ImageDecoder:
        """Return a decoder for images of at most `max_pixels`."""
        return ImageDecoder(self.size, crop=self.crop, max_pixels=max_pixels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """Decoding of texts to IDs, int32 [length], where length has few values."""

    tokenizer: str  # content of a ``tokenizer.json``
    max_tokens: int  # maximum IDs of a row, including start and end
    pad_id: int  # fills a row up to its length

    @property
    def preprocessing(self) -> str:
        """Description that changes whenever the same content gives another row; part of the digest."""
        return texts.PREPROCESSING

    def decoder(self, *, max_pixels: int) -> TextDecoder:  # noqa: ARG002 - has no pixels
        """Return a decoder; `max_pixels` is unused."""
        return TextDecoder(self.tokenizer, max_tokens=self.max_tokens, pad_id=self.pad_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Vectors:
    """Decoding of arrays that are already features, float32 [size]."""

    size: int

    @property
    def preprocessing(self) -> str:
        """Description that changes whenever the same content gives another row; part of the digest."""
        return vectors.PREPROCESSING

    def decoder(self, *, max_pixels: int) -> TensorDecoder:  # noqa: ARG002 - has no pixels
        """Return a decoder; `max_pixels` is unused."""
        return TensorDecoder(self.size)


#: The decoding of a backbone's inputs, which its card stores.
Decoding = Images | Texts | Vectors

_KINDS: Mapping[Modality, type[Decoding]] = {
    Modality.IMAGE: Images,
    Modality.TEXT: Texts,
    Modality.TENSOR: Vectors,
}


def decoding_of(values: Mapping[str, Any]) -> Decoding:
    """Create from the JSON of a card: ``modality`` and the attributes of its kind."""
    settings = {name: value for name, value in values.items() if name != "modality"}
    return _KINDS[Modality(values["modality"])](**settings)
