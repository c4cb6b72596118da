"""SavedModel folders of TensorFlow, which OpenVINO reads without TensorFlow and without running code."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.sources.files import folder_digest
from headstart_server.backbones.sources.image_networks import IMAGE_OPTIONS
from headstart_server.backbones.sources.openvino_images import image_network
from headstart_server.backbones.sources.openvino_reading import read_model
from headstart_server.backbones.sources.protobuf_wire import WireError, field, fields, messages, texts
from headstart_server.backbones.sources.source import SourceError, check_pin

_FILE = "saved_model.pb"
#: The serving signature, which OpenVINO reads.
_SERVING = "serving_default"
#: Tag of the serving graph; others are for training.
_SERVE = "serve"
#: Field numbers of TensorFlow's messages (saved_model.proto, meta_graph.proto).
_META_GRAPHS, _META_INFO, _TAGS, _SIGNATURES = 2, 1, 4, 5
_KEY, _VALUE = 1, 2
_INPUTS, _OUTPUTS = 1, 2
#: Scale of TF Hub's image networks: pixels from 0 to 1.
_SCALE = 1 / 255


class SavedModel:
    """``savedmodel:FOLDER``, with pixels scaled to 0 to 1 unless declared otherwise.

    Its layer is ``OUTPUT`` of the signature serving_default or of the only one, ``SIGNATURE:OUTPUT``,
    ``SIGNATURE`` if that has one output, or a tensor or node inside.
    """

    options = IMAGE_OPTIONS
    in_keras = False

    def modality(self, declaration: Declaration) -> Modality:  # noqa: ARG002 - is the same for all
        return Modality.IMAGE

    def info(self, declaration: Declaration) -> None: ...

    def fetch(self, declaration: Declaration, cache: Path) -> str:  # noqa: ARG002 - is on this machine
        return check_pin(declaration, folder_digest(_folder(declaration)))

    def open(self, declaration: Declaration, cache: Path) -> Network:  # noqa: ARG002 - is on this machine
        folder = _folder(declaration)
        weights = folder_digest(folder)
        signatures = _signatures(folder)
        signature, layer = chosen(signatures, declaration.layer)
        with _serving(folder, signature) as served:
            model = read_model("tf", served)
        return image_network(
            model,
            replace(declaration, layer=layer),
            architecture=f"savedmodel, signature {signature}",
            weights=weights,
            scale=_SCALE,
            takes_last=False,
        )


def chosen(signatures: Mapping[str, list[str]], layer: str | None) -> tuple[str, str | None]:
    """Return the chosen signature and its part; raise SourceError if the choice is ambiguous."""
    if layer is not None:
        first, _, rest = layer.partition(":")
        if first in signatures:
            return first, rest or None
    if _SERVING in signatures:
        return _SERVING, layer
    if len(signatures) == 1:
        return next(iter(signatures)), layer
    listed = "; ".join(f"{name} with {', '.join(outputs)}" for name, outputs in signatures.items())
    raise SourceError(
        f"Expected signature {_SERVING}, one signature, or the setting layer as SIGNATURE:OUTPUT. "
        f"Received: {listed or 'no signature'}."
    )


def _folder(declaration: Declaration) -> Path:
    folder = Path(declaration.location)
    if not (folder / _FILE).is_file():
        raise SourceError(f"Expected a folder with {_FILE}. Received: {folder}, which has none.")
    return folder


def _signatures(folder: Path) -> dict[str, list[str]]:
    """Return the outputs of each signature with inputs, in the serving graph."""
    signatures: dict[str, list[str]] = {}
    try:
        graph = _graph(folder)
        for entry in messages(graph, _SIGNATURES):
            (name,) = texts(entry, _KEY)
            # The initializer of a model is a signature without inputs.
            if texts(entry, _VALUE, _INPUTS, _KEY):
                signatures[name] = sorted(texts(entry, _VALUE, _OUTPUTS, _KEY))
    except ValueError as error:
        raise SourceError(f"Expected a SavedModel in {folder.name}. Received: {error}") from error
    return signatures


def _graph(folder: Path) -> memoryview:
    graphs = list(messages(memoryview((folder / _FILE).read_bytes()), _META_GRAPHS))
    if not graphs:
        raise WireError(f"{_FILE}, which has no graph")
    return next((graph for graph in graphs if _SERVE in texts(graph, _META_INFO, _TAGS)), graphs[0])


@contextmanager
def _serving(folder: Path, signature: str) -> Iterator[Path]:
    """Yield a folder of the model that serves a signature, because OpenVINO always reads the serving one."""
    if signature == _SERVING:
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        staging = Path(name)
        for part in folder.iterdir():
            if part.name != _FILE:
                (staging / part.name).symlink_to(part.resolve())
        (staging / _FILE).write_bytes(_renamed(folder, signature))
        yield staging


def _renamed(folder: Path, signature: str) -> bytes:
    """Return the SavedModel with one signature, renamed to the serving one."""
    parts = []
    for number, value in fields(_graph(folder)):
        if number != _SIGNATURES and isinstance(value, memoryview):
            parts.append(field(number, value))
        elif number == _SIGNATURES and isinstance(value, memoryview) and texts(value, _KEY) == [signature]:
            inside = b"".join(field(_VALUE, one) for one in messages(value, _VALUE))
            parts.append(field(_SIGNATURES, field(_KEY, _SERVING.encode()) + inside))
    return field(_META_GRAPHS, b"".join(parts))
