"""ONNX files, which OpenVINO reads without an ONNX package."""

from pathlib import Path, PurePosixPath

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.sources.files import files_digest, known_digest, local_file
from headstart_server.backbones.sources.image_networks import IMAGE_OPTIONS
from headstart_server.backbones.sources.openvino_images import image_network
from headstart_server.backbones.sources.openvino_reading import read_model
from headstart_server.backbones.sources.protobuf_wire import WireError, messages, texts
from headstart_server.backbones.sources.source import SourceError, check_pin

#: Field numbers of ONNX's messages (onnx.proto): tensors, and the external location of a tensor's values.
_GRAPH, _FUNCTIONS = 7, 25
_NODES, _INITIALIZERS, _SPARSE = 1, 5, 15
_FUNCTION_NODES = 7
_ATTRIBUTES = 5
_TENSOR, _SUBGRAPH, _TENSORS, _SUBGRAPHS, _SPARSE_TENSOR, _SPARSE_TENSORS = 5, 6, 10, 11, 22, 23
_VALUES, _INDICES = 1, 2
_EXTERNAL = 13
_KEY, _VALUE = 1, 2


class Onnx:
    """``onnx:PATH_OR_URL``, a network of images [n, 3, height, width] or [n, height, width, 3]."""

    options = IMAGE_OPTIONS
    in_keras = False

    def modality(self, declaration: Declaration) -> Modality:  # noqa: ARG002 - is the same for all
        return Modality.IMAGE

    def info(self, declaration: Declaration) -> None: ...

    def fetch(self, declaration: Declaration, cache: Path) -> str:
        return check_pin(declaration, onnx_digest(local_file(declaration, cache)))

    def open(self, declaration: Declaration, cache: Path) -> Network:
        path = local_file(declaration, cache)
        weights = onnx_digest(path)
        return image_network(read_model("onnx", path), declaration, architecture="onnx file", weights=weights)


def onnx_digest(path: Path) -> str:
    """Return the SHA-256 of an ONNX file; with external tensors, over the names and contents of all files.

    Raise SourceError if it is not an ONNX file, or names files that are missing or outside its folder.
    """
    places = external_files(path)
    if not places:
        return known_digest(path)
    for place in places:
        pure = PurePosixPath(place)
        if pure.is_absolute() or ".." in pure.parts or "\\" in place:
            raise SourceError(f"Expected tensors in files next to {path.name}. Received: {place!r}.")
        if not (path.parent / place).is_file():
            raise SourceError(
                f"The file {place!r} with tensors of {path.name} is missing. Put it next to {path.name}, or "
                "save the network as one file."
            )
    return files_digest(path.parent, [path, *(path.parent / place for place in places)])


def external_files(path: Path) -> list[str]:
    """Return the external files of an ONNX file's tensors, sorted; raise `SourceError` for other files."""
    message = memoryview(path.read_bytes())
    places: set[str] = set()
    try:
        graphs = list(messages(message, _GRAPH))
        if not graphs:
            raise SourceError(f"Expected an ONNX file. Received: {path.name}, which has no graph.")
        for nodes in messages(message, _FUNCTIONS):
            graphs += _in_nodes(nodes, _FUNCTION_NODES, places)
        while graphs:
            graph = graphs.pop()
            for tensor in [*messages(graph, _INITIALIZERS), *_sparse(graph, _SPARSE)]:
                places.update(_places(tensor))
            graphs += _in_nodes(graph, _NODES, places)
    except WireError as error:
        raise SourceError(f"Expected an ONNX file. Received: {path.name}: {error}") from error
    return sorted(places)


def _in_nodes(graph: memoryview, nodes: int, places: set[str]) -> list[memoryview]:
    """Yield the graphs in the attributes of nodes, and collect the locations of tensors in them."""
    graphs: list[memoryview] = []
    for attribute in messages(graph, nodes, _ATTRIBUTES):
        for number in (_TENSOR, _TENSORS):
            for tensor in messages(attribute, number):
                places.update(_places(tensor))
        for number in (_SPARSE_TENSOR, _SPARSE_TENSORS):
            for tensor in _sparse(attribute, number):
                places.update(_places(tensor))
        for number in (_SUBGRAPH, _SUBGRAPHS):
            graphs += messages(attribute, number)
    return graphs


def _sparse(message: memoryview, number: int) -> list[memoryview]:
    return [tensor for part in (_VALUES, _INDICES) for tensor in messages(message, number, part)]


def _places(tensor: memoryview) -> list[str]:
    entries = list(messages(tensor, _EXTERNAL))
    # Protobuf readers may use any of several occurrences of a field.
    return [place for one in entries if "location" in texts(one, _KEY) for place in texts(one, _VALUE)]
