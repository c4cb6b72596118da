"""Heads that predict within a batch: once for all rows of a version, in the batch's thread."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import Views


class RowHead(Protocol):
    """A head that predicts from views of rows. It is compared by identity."""

    @property
    def views(self) -> Sequence[str]:
        """Names of the views that it uses."""

    def outputs(self, views: Views, /) -> NDArray[np.float32]:
        """Return the outputs [n, C] of n rows. The outputs of a row do not depend on other rows."""


#: Outputs [C] of one row, by head.
RowOutputs = Mapping[RowHead, NDArray[np.float32]]


def head_outputs(views: Views, heads: Sequence[Sequence[RowHead]]) -> Sequence[RowOutputs]:
    """Return the outputs of each row of a batch.

    Args:
        views: views of the rows, [n, D of the view].
        heads: the heads of each row.
    """
    places: dict[RowHead, list[int]] = {}
    for place, wanted in enumerate(heads):
        for head in wanted:
            places.setdefault(head, []).append(place)
    found: list[dict[RowHead, NDArray[np.float32]]] = [{} for _ in heads]
    for head, chosen in places.items():
        part = views if len(chosen) == len(heads) else {name: views[name][chosen] for name in head.views}
        outputs = head.outputs(part)
        for at, place in enumerate(chosen):
            found[place][head] = outputs[at]
    return found
