"""Analyzes the examples of a fitted head, and creates the files that explain predictions."""

from collections.abc import Sequence

from headstart_server.learning.analysis.analyzed_dataset import AnalyzedDataset
from headstart_server.learning.analysis.dataset_analysis import analyze_dataset
from headstart_server.learning.analysis.dataset_findings import DatasetFindings
from headstart_server.learning.analysis.duplicates import near_duplicate_groups
from headstart_server.learning.analysis.example_map import map_examples
from headstart_server.learning.analysis.neighbors import NeighborExample, index_neighbors
from headstart_server.learning.analysis.typicality import fit_typicality_model
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.features.result_cache import frozen
from headstart_server.models.evidence import (
    MAP_FILE,
    NEIGHBORS_FILE,
    TYPICALITY_FILE,
    map_to_bytes,
    neighbors_bytes,
    typicality_model_to_bytes,
)


class FitAnalysis:
    """Analyzes examples, and the head that was fitted on the examples that are not held out.

    Args:
        examples: the examples, [N].
    """

    def __init__(self, examples: Sequence[StoredExample], dataset: AnalyzedDataset) -> None:
        self._examples = examples
        self._dataset = dataset
        self._groups = near_duplicate_groups(self._dataset)

    def findings(self, *, seed: int, estimated_seconds: float, fault_count: int) -> DatasetFindings:
        """Return findings about the examples.

        Args:
            estimated_seconds: how long a fine-tune of them takes; 0 if unknown.
            fault_count: number of further examples that cannot be used.
        """
        return analyze_dataset(
            self._dataset,
            self._groups,
            seed=seed,
            estimated_seconds=estimated_seconds,
            fault_count=fault_count,
        )

    def files(self) -> dict[str, bytes]:
        """Return the files with the map, the typicality model and the neighbors of a version."""
        analyzed = self._dataset
        trained = analyzed.trained
        views = analyzed.views
        if analyzed.held_out.any():
            views = {name: frozen(matrix[trained]) for name, matrix in views.items()}
        names, digests = sorted(views), [analyzed.digests[place] for place in trained.tolist()]
        indexed = [
            NeighborExample(index=index, id=self._examples[place].id, target=self._examples[place].target)
            for place, index in zip(trained.tolist(), analyzed.indexes[trained].tolist(), strict=True)
        ]
        groups = [self._groups[place] for place in trained.tolist()]
        check = analyzed.checkpoint
        index = index_neighbors(views, names, indexed, digests, checkpoint=check)
        positions = map_examples(analyzed.views, names, analyzed.digests, check)
        files = {NEIGHBORS_FILE: neighbors_bytes(index), MAP_FILE: map_to_bytes(positions)}
        typicality_model = fit_typicality_model(
            views, names, digests, groups, modality=analyzed.modality, checkpoint=check
        )
        if typicality_model is not None:
            files[TYPICALITY_FILE] = typicality_model_to_bytes(typicality_model)
        return files
