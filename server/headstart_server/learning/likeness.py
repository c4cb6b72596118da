"""How alike inputs are: the cosine of the angle between the roots of their features."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.rows import Float32, normalized, signed_root

Int8 = NDArray[np.int8]


def similarity_rows(
    views: Mapping[str, Float32], names: Sequence[str], places: NDArray[np.int64] | slice = slice(None)
) -> Float32:
    """The rows whose cosines tell how alike inputs are.

    The roots of each view's features, their signs kept, are brought to length 1 and put side by side, so that
    each view counts the same. docs/lab/heads.md lists the other spaces that were measured.

    Args:
        views: features [N, D of the view] by view.
        names: the views to put side by side.
        places: the inputs to take.

    Returns:
        Rows of length 1, [n, D].
    """
    parts = [normalized(signed_root(views[name][places])) for name in names]
    return normalized(np.concatenate(parts, axis=1)) if len(parts) > 1 else parts[0]
