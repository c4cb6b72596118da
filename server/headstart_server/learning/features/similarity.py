"""Similarity of inputs: the cosine of the angle between the roots of their features."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.features.feature_matrix import Float32, normalized, signed_root

Int8 = NDArray[np.int8]


def similarity_rows(
    views: Mapping[str, Float32], names: Sequence[str], places: NDArray[np.int64] | slice = slice(None)
) -> Float32:
    """Return rows of length 1, [n, D], whose cosines measure the similarity of inputs.

    The signed roots of each view's features are scaled to length 1 and concatenated, so that each view has
    the same weight. docs/lab/heads.md lists the other spaces that were measured. `views` has features [N, D
    of the view] by view; `names` are the views to concatenate, `places` the inputs.
    """
    parts = [normalized(signed_root(views[name][places])) for name in names]
    return normalized(np.concatenate(parts, axis=1)) if len(parts) > 1 else parts[0]
