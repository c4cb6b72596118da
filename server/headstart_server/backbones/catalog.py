"""The backbones of a server, and how to load them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from headstart_server.backbones.contract.backbone import Backbone, BackboneInfo
from headstart_server.backbones.contract.runtimes import Precision, RuntimeKind, RuntimeSettings
from headstart_server.backbones.contract.tail import TailMismatch
from headstart_server.backbones.contract.tail_training import TailEpoch, TailRequest, TailResult
from headstart_server.backbones.contract.vectors import FAMILY, IdentityRuntime, size_of
from headstart_server.backbones.networks.card import Card, card_of
from headstart_server.backbones.networks.declaration import Declaration, DeclarationError, distinct
from headstart_server.backbones.networks.loaded_backbone import LoadedBackbone, Runtime, Train
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.networks.quantization import FLOAT_FILE, SUFFIX, QuantizationProof, base_name
from headstart_server.backbones.preprocessing import images
from headstart_server.backbones.runtimes.keras_import import computing_in
from headstart_server.backbones.runtimes.keras_runtime import KerasRuntime
from headstart_server.backbones.runtimes.keras_training import train
from headstart_server.backbones.runtimes.openvino_runtime import NETWORK_FILE, OpenVinoRuntime
from headstart_server.backbones.sources.efficientnet_lite import BUILT_IN
from headstart_server.backbones.sources.registry import credentials_of, source_of
from headstart_server.backbones.sources.sentence_bert import MINILM
from headstart_server.backbones.sources.source import check_pin
from headstart_server.backbones.worker.conversions import Conversions
from headstart_server.backbones.worker.export_process import export_in_process
from headstart_server.backbones.worker.export_request import ExportFormat, ExportRequest
from headstart_server.backbones.worker.optional_packages import keras_missing
from headstart_server.backbones.worker.prepared_cache import folder_of, keep_card, prepared_in
from headstart_server.backbones.worker.quantized_backbones import QuantizedBackbones
from headstart_server.backbones.worker.training_process import train_in_process
from headstart_server.errors import (
    BackboneNotFound,
    BackboneUnavailable,
    ExportUnavailable,
    HeadstartError,
    InvalidField,
)

#: Default backbone for images.
DEFAULT = "efficientnet-lite0"


class Catalog:
    """List the known backbones without importing Keras, and load them.

    Args:
        declared: backbones in addition to the built-in ones.

    Raises:
        DeclarationError: the source of a declared backbone is unknown, or its name is in use.
        SourceError: its source cannot provide such a network.
    """

    def __init__(
        self,
        declared: Iterable[Declaration] = (),
        *,
        max_pixels: int = images.MAX_PIXELS,
        runtimes: RuntimeSettings = RuntimeSettings(),  # noqa: B008 - frozen
    ) -> None:
        self._declared = {one.name: one for one in distinct([*BUILT_IN, MINILM, *declared])}
        for name in self._declared:
            if base_name(name) is not None:
                raise DeclarationError(f"Backbone {name!r}: Expected a name that does not end with {SUFFIX}.")
        self._infos = {name: _first_info(one) for name, one in self._declared.items()}
        self._cards: dict[str, Card] = {}
        self._max_pixels = max_pixels
        self._runtimes = runtimes
        self._conversions = Conversions(runtimes.cache, runtimes.shipped)
        self.quantized = QuantizedBackbones(self._declared, self._conversions, runtimes)
        for base in self.quantized.usable():
            self._list_quantized(base)
        #: Backbones that were requested early, until they are requested.
        self._early: dict[str, Future[Backbone]] = {}

    def list(self) -> Sequence[BackboneInfo]:
        """Return the known metadata of each backbone, preferred quantized ones first."""
        preferred = {self.quantized.preferred(name) for name in self._declared} - self._declared.keys()
        infos = map(self._explained, tuple(self._infos.values()))
        return sorted(infos, key=lambda info: info.name not in preferred)

    def check_name(self, name: str) -> None:
        """Raise `BackboneNotFound` if no backbone has a name."""
        self._declaration(name)

    def info(self, name: str) -> BackboneInfo:
        """Return the known metadata of one backbone; ``features:SIZE`` exists for any size."""
        declaration = self._declaration(name)
        return self._explained(self._infos.get(name) or _first_info(declaration))

    def prepare(self, name: str) -> BackboneInfo:
        """Fetch a backbone and determine all its metadata, unless done before; may take minutes.

        It runs at low priority, because no call waits for it. Raise BackboneUnavailable if the source is
        unavailable, or provides another network than declared.
        """
        declaration = self._declaration(name)
        with _unavailable(declaration):
            if base_name(name) is not None:
                self.quantized.find(name)
            elif self._kind(declaration) is RuntimeKind.OPENVINO:
                self._prepared(declaration, low_priority=True)
            else:
                self._opened(declaration)
        return self.info(name)

    def load_early(self, name: str) -> None:
        """Begin to load a backbone in a thread if it is prepared for OpenVINO; `load` then waits for it."""
        declaration = self._declaration(name)
        if base_name(name) is not None or (
            self._kind(declaration) is RuntimeKind.OPENVINO and self._conversions.has(declaration)
        ):
            thread = ThreadPoolExecutor(1, "load-early")
            self._early[name] = thread.submit(self._load, name, declaration)
            thread.shutdown(wait=False)

    def load(self, name: str = DEFAULT) -> Backbone:
        """Load a backbone, warm it up, and verify its features. Takes seconds.

        Raise BackboneUnavailable if the source is unavailable, or provides another network than declared.
        """
        early = self._early.pop(name, None)
        return early.result() if early else self._load(name, self._declaration(name))

    def load_quantized(self, name: str, samples: Path | None = None) -> Backbone:
        """Quantize a backbone to 8 bits, unless done before, and load its quantized form without a proof.

        Args:
            name: name of the backbone in floating point.
            samples: folder of samples to calibrate on; None for samples of packages.
        """
        declaration = self._declaration(name)
        with _unavailable(declaration):
            return self._loaded_quantized(declaration, *self.quantized.quantize(name, samples))

    def keep_proof(self, name: str, proof: QuantizationProof) -> None:
        """Store the proof of the quantized form of a backbone, which decides whether it may be used."""
        self.quantized.prove(name, proof)
        if not proof.problem:
            self._list_quantized(name)

    def remaining(self, name: str) -> float | None:
        """Estimate the seconds until a backbone is prepared; None if it is not being prepared."""
        return self._conversions.remaining(name)

    def close(self) -> None:
        """Cancel preparations, and start no more; loaded backbones stay."""
        self._conversions.stop()

    def network(self, name: str = DEFAULT, precision: Precision = Precision.FLOAT32) -> Any:
        """Return a Keras model from decoded rows to views and cuts; raise SourceError or CheckpointError."""
        declaration = self._declaration(name)
        source_of(declaration).fetch(declaration, self._runtimes.cache)
        return self._open(declaration, precision).model

    def conversion(self, name: str = DEFAULT) -> Path:
        """Return the path of a backbone's OpenVINO network, preparing it if needed; see `load` for errors."""
        declaration = self._declaration(name)
        with _unavailable(declaration):
            return self._prepared(declaration)[1] / NETWORK_FILE

    def export(self, name: str, request: ExportRequest, folder: Path, checkpoint: Callable[[], None]) -> None:
        """Export a version with its backbone as one network into an empty folder.

        Args:
            checkpoint: called at least ten times a second once the backbone is prepared; may raise to stop.

        Raises:
            BackboneUnavailable: the source is unavailable, or provides another network than declared.
        """
        declaration = self._declaration(name)
        source, has_network = source_of(declaration), size_of(declaration.source) is None
        conversion = None
        if request.form is ExportFormat.OPENVINO:
            with _unavailable(declaration):
                conversion = self._openvino_folder(declaration) if has_network else None
        elif (base := base_name(name)) is not None:
            raise InvalidField(
                f"Expected the form openvino: backbone '{name}' is quantized for OpenVINO. Received: "
                f"{request.form}. For other forms, rebase the version onto the backbone '{base}'.",
                field="form",
                metadata={"backbone": name},
            )
        elif has_network and not source.in_keras:
            raise InvalidField(
                f"Expected the form openvino: backbone '{name}' of source {declaration.scheme} is not a "
                f"Keras model. Received: {request.form}.",
                field="form",
                metadata={"backbone": name},
            )
        elif lacking := keras_missing(f"An export as {request.form}"):
            raise ExportUnavailable(lacking, metadata={"form": request.form})
        else:
            with _unavailable(declaration):
                source.fetch(declaration, self._runtimes.cache)
        export_in_process(
            declaration, self._runtimes.cache, request, folder, checkpoint, conversion=conversion
        )

    def weights(self, name: str = DEFAULT) -> str:
        """Return the SHA-256 of the weights of a prepared backbone, which a declaration may pin."""
        return self._cards[name].weights

    def _load(self, name: str, declaration: Declaration) -> Backbone:
        with _unavailable(declaration):
            if size_of(declaration.source) is not None:
                return self._loaded_without_network(declaration)
            if base_name(name) is not None:
                backbone = self._loaded_quantized(declaration, *self.quantized.find(name))
            elif self._kind(declaration) is RuntimeKind.OPENVINO:
                backbone = self._loaded_in_openvino(declaration)
            else:
                backbone = self._loaded_in_keras(declaration)
        self._conversions.yields = True
        return backbone

    def _loaded_in_openvino(self, declaration: Declaration) -> Backbone:
        card, folder = self._prepared(declaration)
        runtime = OpenVinoRuntime(folder / NETWORK_FILE, self._openvino_settings(), card.cuts)
        return self._checked(card, runtime, self._training_process(declaration))

    def _loaded_quantized(self, declaration: Declaration, card: Card, folder: Path) -> Backbone:
        """Load a quantized backbone; its tails are trained and run in floating point."""
        card = self._renamed(declaration, card)
        runtime = OpenVinoRuntime(
            folder / NETWORK_FILE, self._openvino_settings(), card.cuts, quantized_from=folder / FLOAT_FILE
        )
        return self._checked(card, runtime, self._training_process(declaration))

    def _explained(self, info: BackboneInfo) -> BackboneInfo:
        """Return the metadata of a backbone with the reason for its precision."""
        reason = self.quantized.choice(base_name(info.name) or info.name).reason
        return replace(info, precision_reason=reason) if reason else info

    def _openvino_settings(self) -> RuntimeSettings:
        return replace(self._runtimes, kind=RuntimeKind.OPENVINO).settled()

    def _training_process(self, declaration: Declaration) -> Train:
        program = [
            "-m",
            "headstart_server.backbones.worker.train_command",
            declaration.as_json(),
            str(self._runtimes.cache),
        ]
        return partial(train_in_process, program, credentials=credentials_of(declaration))

    def _loaded_in_keras(self, declaration: Declaration) -> Backbone:
        settings = self._runtimes.settled()
        precision = settings.precision or Precision.FLOAT32
        card, network = self._opened(declaration)
        if network is None or precision is not Precision.FLOAT32:
            network = self._open(declaration, precision)

        # Trains in this process, which has imported Keras anyway.
        def train_here(
            request: TailRequest, progress: Callable[[TailEpoch], None], checkpoint: Callable[[], None]
        ) -> TailResult:
            plan, model = card.info.tails[request.blocks], self.network(declaration.name)
            return train(model, plan, request, progress=progress, checkpoint=checkpoint)

        return self._checked(card, KerasRuntime(network.model, settings, card.cuts), train_here)

    def _loaded_without_network(self, declaration: Declaration) -> Backbone:
        network = source_of(declaration).open(declaration, self._runtimes.cache)

        def no_tail(request: TailRequest, *_: object) -> TailResult:
            raise TailMismatch(
                f"{declaration.name} has no network, so it has no tail. Received: {request.blocks} blocks."
            )

        card = self._known(declaration, card_of(network, in_keras=False))
        return self._checked(card, IdentityRuntime(), no_tail)

    def _checked(self, card: Card, runtime: Runtime, train_tail: Train) -> Backbone:
        decoder = card.decoding.decoder(max_pixels=self._max_pixels)
        backbone = LoadedBackbone(
            card.info, digest=card.digest, decoder=decoder, runtime=runtime, train=train_tail
        )
        backbone.check(card.golden)
        return backbone

    def _prepared(self, declaration: Declaration, *, low_priority: bool = False) -> tuple[Card, Path]:
        """Return the card and the folder of the converted backbone, converting it if necessary."""
        card, folder = self._conversions.find(declaration, low_priority=low_priority)
        return self._known(declaration, card), folder

    def _openvino_folder(self, declaration: Declaration) -> Path:
        if base_name(declaration.name) is not None:
            return self.quantized.find(declaration.name)[1]
        return self._prepared(declaration, low_priority=True)[1]

    def _list_quantized(self, base: str) -> None:
        declaration = replace(self._declared[base], name=base + SUFFIX)
        card, _ = self.quantized.find(declaration.name)
        self._infos[declaration.name] = self._renamed(declaration, card).info

    def _opened(self, declaration: Declaration) -> tuple[Card, Network | None]:
        """Return the card, and the float32 network if it was opened: only the first start needs it."""
        cache, source = self._runtimes.cache, source_of(declaration)
        fingerprint = source.fetch(declaration, cache)
        folder = folder_of(declaration, fingerprint, cache, RuntimeKind.KERAS)
        card, network = prepared_in(folder), None
        if card is None:
            network = self._open(declaration, Precision.FLOAT32)
            card = keep_card(folder, card_of(network, in_keras=source.in_keras))
        return self._known(declaration, card), network

    def _open(self, declaration: Declaration, precision: Precision) -> Network:
        # As in a preparation, because declared metadata is added whenever a card is read.
        plain = replace(declaration, license=None, description=None)
        with computing_in(precision):
            network = source_of(declaration).open(plain, self._runtimes.cache)
        check_pin(declaration, network.weights)
        return network

    def _known(self, declaration: Declaration, card: Card) -> Card:
        check_pin(declaration, card.weights)
        known = self._renamed(declaration, card)
        if declaration.name in self._declared:
            self._infos[declaration.name] = known.info
        return known

    def _renamed(self, declaration: Declaration, card: Card) -> Card:
        info = replace(
            card.info,
            name=declaration.name,
            license=declaration.license or card.info.license,
            description=declaration.description or card.info.description,
        )
        self._cards[declaration.name] = known = replace(card, info=info)
        return known

    def _kind(self, declaration: Declaration) -> RuntimeKind:
        """Return the runtime of a backbone: OpenVINO also runs networks that Keras cannot."""
        chosen = self._runtimes.settled().kind
        return chosen if chosen and source_of(declaration).in_keras else RuntimeKind.OPENVINO

    def _declaration(self, name: str) -> Declaration:
        if name in self._declared:
            return self._declared[name]
        base = base_name(name)
        if base in self._declared:
            return replace(self._declared[base], name=name)
        if size_of(name) is not None:
            return Declaration(name=name, source=name)
        known = ", ".join([*sorted(self._declared), f"{FAMILY}SIZE"])
        raise BackboneNotFound(
            f"There is no backbone '{name}'. Expected one of: {known}.", metadata={"backbone": name}
        )


@contextmanager
def _unavailable(declaration: Declaration) -> Iterator[None]:
    try:
        yield
    except HeadstartError:
        raise
    except (ValueError, OSError, RuntimeError) as error:
        # Errors of sources, damaged weights, disks, permissions, and OpenVINO or Keras.
        raise BackboneUnavailable(
            f"Backbone '{declaration.name}' is unavailable: {error}",
            metadata={"backbone": declaration.name},
        ) from error


def _first_info(declaration: Declaration) -> BackboneInfo:
    """Return the metadata of a backbone before it is prepared."""
    source = source_of(declaration)
    return source.info(declaration) or BackboneInfo(
        name=declaration.name,
        modality=source.modality(declaration),
        views={},
        input_size=(),
        parameter_count=0,
        source=declaration.source,
        license=declaration.license or "",
        description=declaration.description or "",
    )
