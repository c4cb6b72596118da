"""The files of a version that hold its typicality model, its neighbors and the map of its examples."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from headstart_server.column_json import dump_columns, load_columns
from headstart_server.learning.analysis.neighbors import NeighborExample, NeighborIndex
from headstart_server.learning.analysis.references import Directions, Magnitudes
from headstart_server.learning.analysis.typicality import TypicalityModel
from headstart_server.learning.examples.target import Target, targets_json
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.features.similarity import QuantizedRows

TYPICALITY_FILE = "typicality.safetensors"
NEIGHBORS_FILE = "neighbors.safetensors"
MAP_FILE = "map.safetensors"
#: Positions are integers, in units of this fraction of half the width.
_MAP_STEPS = 32_767

_FACTS = "facts"


class InvalidEvidenceError(ValueError):
    """The content of a file does not match its name."""


def typicality_model_to_bytes(typicality_model: TypicalityModel) -> bytes:
    """Return the content of a file. Equal values give equal bytes."""
    references = typicality_model.references
    tensors: dict[str, NDArray[Any]] = {"distances": typicality_model.distances}
    if isinstance(references, Magnitudes):
        tensors |= {"values": references.values, "center": references.center, "scale": references.scale}
    elif isinstance(references, Directions):
        tensors |= {"references": references.rows.values, "scales": references.rows.scales}
    return _saved(tensors, {"views": typicality_model.views})


def typicality_model_from_bytes(content: bytes) -> TypicalityModel:
    """Return the value that `typicality_model_to_bytes` wrote; raise InvalidEvidenceError if invalid."""
    with _reading("references", "scales", "distances"):
        tensors, facts = _all(content)
        views = tuple(facts["views"])
        if "values" in tensors:
            return TypicalityModel(
                references=Magnitudes(
                    views=views,
                    values=tensors["values"],
                    center=tensors["center"],
                    scale=tensors["scale"],
                ),
                distances=tensors["distances"],
            )
        rows = QuantizedRows(values=tensors["references"], scales=tensors["scales"])
        return TypicalityModel(references=Directions(views=views, rows=rows), distances=tensors["distances"])


def neighbors_bytes(index: NeighborIndex) -> bytes:
    """Return the content of a file. Equal values give equal bytes."""
    return _saved(
        {
            "rows": index.rows.values,
            "scales": index.rows.scales,
            "places": np.array([example.index for example in index.examples], np.int64),
        },
        {
            "views": index.views,
            "ids": [example.id for example in index.examples],
            "targets": targets_json([example.target for example in index.examples]),
        },
    )


def neighbors_of(content: bytes) -> NeighborIndex:
    """Return the index that `neighbors_bytes` wrote; raise InvalidEvidenceError if invalid."""
    with _reading("rows", "scales", "places") as names:
        tensors, facts = _loaded(content, *names)
        examples = zip(tensors["places"].tolist(), facts["ids"], facts["targets"], strict=True)
        return NeighborIndex(
            views=tuple(facts["views"]),
            rows=QuantizedRows(values=tensors["rows"], scales=tensors["scales"]),
            examples=tuple(
                NeighborExample(index=place, id=name, target=Target.from_json(target))
                for place, name, target in examples
            ),
        )


def map_to_bytes(positions: Float32) -> bytes:
    """Return positions [N, 2] from -1 to 1 as the content of a file, 4 bytes for each example."""
    return _saved({"positions": np.rint(positions * _MAP_STEPS).astype(np.int16)}, {})


def map_from_bytes(content: bytes) -> Float32:
    """Return the positions that `map_to_bytes` wrote; raise InvalidEvidenceError if invalid."""
    with _reading("positions") as names:
        tensors, _ = _loaded(content, *names)
        positions: Float32 = tensors["positions"].reshape(-1, 2).astype(np.float32) / np.float32(_MAP_STEPS)
        return positions


def _saved(tensors: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> bytes:
    # As a tensor: the order of safetensors' metadata is arbitrary.
    written = np.frombuffer(dump_columns(facts).encode(), np.uint8)
    contents = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    return save_tensors({**contents, _FACTS: written})


@contextmanager
def _reading(*names: str) -> Iterator[tuple[str, ...]]:
    """Raise every error of reading these tensors as `InvalidEvidenceError`."""
    try:
        yield names
    # JSON of any structure, including lists nested too deeply for Python's reader.
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidEvidenceError(f"Expected a file of {', '.join(names)}. Received: {error!r}.") from error


def _loaded(content: bytes, *names: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    tensors, facts = _all(content)
    return {name: tensors[name] for name in names}, facts


def _all(content: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    tensors = load_tensors(content)
    return tensors, load_columns(tensors[_FACTS].tobytes())
