"""Registry of sources by scheme, and the source of features, which has no network."""

from pathlib import Path

from headstart_server.backbones.contract import vectors
from headstart_server.backbones.contract.backbone import BackboneInfo, Modality
from headstart_server.backbones.networks.declaration import Declaration, DeclarationError
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.preprocessing.decoding import Vectors
from headstart_server.backbones.sources.efficientnet_lite import SCHEME as EFFICIENTNET_LITE
from headstart_server.backbones.sources.efficientnet_lite import EfficientNetLite
from headstart_server.backbones.sources.keras_applications import KerasApplications
from headstart_server.backbones.sources.keras_file import KerasFile
from headstart_server.backbones.sources.keras_hub import KERAS_HUB
from headstart_server.backbones.sources.onnx import Onnx
from headstart_server.backbones.sources.pytorch.program import TorchProgram
from headstart_server.backbones.sources.pytorch.weights import TorchWeights
from headstart_server.backbones.sources.savedmodel import SavedModel
from headstart_server.backbones.sources.sentence_bert import SCHEME as SENTENCE_BERT
from headstart_server.backbones.sources.sentence_bert import SentenceBert
from headstart_server.backbones.sources.source import Source, SourceError


class Features:
    """``features:SIZE``; every size exists without a declaration."""

    options: frozenset[str] = frozenset()
    in_keras = False

    def modality(self, declaration: Declaration) -> Modality:  # noqa: ARG002 - is the same for all
        return Modality.TENSOR

    def info(self, declaration: Declaration) -> BackboneInfo:
        return vectors.info(declaration.name, _size(declaration))

    def fetch(self, declaration: Declaration, cache: Path) -> str:  # noqa: ARG002 - there is nothing
        return declaration.location

    def open(self, declaration: Declaration, cache: Path) -> Network:  # noqa: ARG002 - there is nothing
        size = _size(declaration)
        decoding = Vectors(size=size)
        return Network(
            info=self.info(declaration),
            model=None,
            decoding=decoding,
            weights="",
            identity={"size": size, "preprocessing": decoding.preprocessing},
        )


def _size(declaration: Declaration) -> int:
    size = vectors.size_of(declaration.source)
    if size is None:
        raise SourceError(
            f"Expected features:SIZE, 1 to {vectors.MAX_SIZE:,}. Received: {declaration.source}."
        )
    return size


#: Sources of networks. To add one, write a `Source` in a module here, and add it to this table.
SOURCES: dict[str, Source] = {
    EFFICIENTNET_LITE: EfficientNetLite(),
    SENTENCE_BERT: SentenceBert(),
    "features": Features(),
    "keras": KerasApplications(),
    "keras-file": KerasFile(),
    "onnx": Onnx(),
    "savedmodel": SavedModel(),
    "torch": TorchProgram(),
    "torch-weights": TorchWeights(),
    **KERAS_HUB,
}

_HUGGING_FACE = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH")
_KAGGLE = ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_CONFIG_DIR")
#: Environment variables with credentials for private downloads of each scheme.
_CREDENTIALS = {"hf": _HUGGING_FACE, "timm": _HUGGING_FACE, "kerashub": (*_KAGGLE, *_HUGGING_FACE)}

#: Settings that every source supports.
_FOR_ALL = {"license", "description"}


def credentials_of(declaration: Declaration) -> tuple[str, ...]:
    """Return the names of the environment variables that may hold credentials for a declared backbone."""
    if Path(declaration.location).is_absolute():
        return ()
    return _CREDENTIALS.get(declaration.scheme, ())


def source_of(declaration: Declaration) -> Source:
    """Return the source of a declared backbone; raise `DeclarationError` for an unknown scheme or setting."""
    source = SOURCES.get(declaration.scheme)
    if source is None:
        raise DeclarationError(
            f"Backbone {declaration.name!r}: Expected a source of one of the schemes {', '.join(SOURCES)}. "
            f"Received: {declaration.source}."
        )
    for setting in declaration.given():
        if setting not in _FOR_ALL and setting not in source.options:
            heeded = ", ".join(sorted({*source.options, *_FOR_ALL}))
            raise DeclarationError(
                f"Backbone {declaration.name!r}: Expected settings of the source {declaration.scheme}: "
                f"{heeded}. Received: {setting}."
            )
    return source
