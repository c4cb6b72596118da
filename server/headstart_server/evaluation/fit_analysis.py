"""What is told of the examples of a fitted head: their faults, and what its answers will rest on."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.learning.analysis.analyzed_dataset import AnalyzedDataset
from headstart_server.learning.analysis.dataset_analysis import analyze_dataset
from headstart_server.learning.analysis.dataset_findings import DatasetFindings
from headstart_server.learning.analysis.duplicates import near_duplicate_groups
from headstart_server.learning.analysis.neighbors import NeighborExample, index_neighbors
from headstart_server.learning.analysis.typicality import fit_typicality_model
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.features.feature_matrix import Float32, Ints
from headstart_server.learning.heads.fitting import FittedHead
from headstart_server.models.evidence import (
    NEIGHBORS_FILE,
    TYPICALITY_FILE,
    neighbors_bytes,
    typicality_model_to_bytes,
)


class FitAnalysis:
    """Looks at usable examples, and at the head that was fitted on those of them that are not held out.

    Args:
        examples: the examples, [N].
        indexes: the place of each in the list that callers know, [N].
        views: features [N, D of the view] by view.
        targets: what each shows, [N].
        held_out: whether each is kept out of training, [N].
        fitted: the head.
        modality: the kind of input.
        checkpoint: called between pieces of work; may raise to stop.
        truncated: content digests of the examples of which the backbone does not see the end.
    """

    def __init__(
        self,
        *,
        examples: Sequence[StoredExample],
        indexes: Ints,
        views: Mapping[str, Float32],
        targets: Targets,
        held_out: NDArray[np.bool_],
        fitted: FittedHead,
        modality: Modality,
        checkpoint: Callable[[], None],
        truncated: Collection[str] = frozenset(),
    ) -> None:
        self._examples = examples
        self._examined = AnalyzedDataset(
            views=views,
            targets=targets,
            digests=[example.digest for example in examples],
            ids=[example.id for example in examples],
            indexes=indexes,
            held_out=held_out,
            fitted=fitted,
            modality=modality,
            checkpoint=checkpoint,
            truncated=truncated,
        )
        self._groups = near_duplicate_groups(self._examined)

    def findings(self, *, seed: int, estimated_seconds: float, fault_count: int) -> DatasetFindings:
        """What is found in the examples.

        Args:
            seed: the fine-tune's.
            estimated_seconds: how long a fine-tune of them takes; 0 if unknown.
            fault_count: number of examples beside these that cannot be used.
        """
        return analyze_dataset(
            self._examined,
            self._groups,
            seed=seed,
            estimated_seconds=estimated_seconds,
            fault_count=fault_count,
        )

    def files(self) -> dict[str, bytes]:
        """Return the files with the typicality model and the neighbors of a version."""
        examined = self._examined
        trained = examined.trained
        views = {name: matrix[trained] for name, matrix in examined.views.items()}
        names, digests = sorted(views), [examined.digests[place] for place in trained.tolist()]
        indexed = [
            NeighborExample(
                index=int(examined.indexes[place]),
                id=examined.ids[place],
                target=self._examples[place].target,
            )
            for place in trained.tolist()
        ]
        groups = [self._groups[place] for place in trained.tolist()]
        check = examined.checkpoint
        index = index_neighbors(views, names, indexed, digests, checkpoint=check)
        files = {NEIGHBORS_FILE: neighbors_bytes(index)}
        typicality_model = fit_typicality_model(
            views, names, digests, groups, modality=examined.modality, checkpoint=check
        )
        if typicality_model is not None:
            files[TYPICALITY_FILE] = typicality_model_to_bytes(typicality_model)
        return files
