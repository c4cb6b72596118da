"""Examples with their features and the head fitted on them, as input of the analysis."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.learning.analysis.dataset_findings import ExampleReference
from headstart_server.learning.examples.target import Target, Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Ints
from headstart_server.learning.heads.fitting import FittedHead


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AnalyzedDataset:
    """N usable examples, including held-out ones."""

    views: Mapping[str, Float32]  # features [N, D of the view] by view
    targets: Targets
    digests: Sequence[str]  # content digest of each example
    ids: Sequence[str]  # the caller's ID of each example
    indexes: Ints  # position of each example in the list, [N]
    held_out: NDArray[np.bool_]  # whether each example is held out of training, [N]
    fitted: FittedHead  # the head fitted on the training examples, in their order
    checkpoint: Callable[[], None] = lambda: None  # called between pieces of work; may raise to stop
    modality: Modality = Modality.IMAGE
    truncated: Collection[str] = frozenset()  # content digests of examples that the backbone truncates

    @property
    def trained(self) -> Ints:
        """The indexes of the training examples."""
        return np.flatnonzero(~self.held_out)

    def reference(self, place: int) -> ExampleReference:
        """Return a reference to the example at an index."""
        return ExampleReference(
            index=int(self.indexes[place]), id=self.ids[place], label=target_at(self.targets, place)
        )


def target_at(targets: Targets, place: int) -> Target:
    """Return the label of an example; a soft label as its most probable class."""
    shown, names = targets.matrix[place], targets.class_names
    if targets.task is Task.REGRESSION:
        return Target.of_value(float(shown[0]))
    if targets.task is Task.SINGLE_LABEL:
        return Target.of_label(names[int(shown.argmax())])
    return Target.of_labels(names[column] for column in np.flatnonzero(shown))
