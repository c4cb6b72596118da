"""Directions of features in a small space, a byte for each dimension, to find similar inputs."""

from collections.abc import Mapping, Sequence

import numpy as np

from headstart_server.learning.analysis.references import PROJECTED, project_directions
from headstart_server.learning.features.feature_matrix import Float32, normalized
from headstart_server.learning.features.similarity import similarity_rows


def directions_bytes(views: Mapping[str, Float32], names: Sequence[str]) -> list[bytes]:
    """Return the directions of n inputs from features [n, D of the view] by view."""
    rows = project_directions(similarity_rows(views, names))
    largest = np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return [row.tobytes() for row in np.rint(rows / largest * 127).astype(np.int8)]


def directions_of(stored: Sequence[bytes]) -> Float32:
    """Return the directions as rows of length 1, [N, d]; those of fewer dimensions are filled with zeros."""
    rows = np.zeros((len(stored), PROJECTED), np.float32)
    for place, each in enumerate(stored):
        values = np.frombuffer(each, np.int8)[:PROJECTED]
        rows[place, : len(values)] = values
    return normalized(rows)
