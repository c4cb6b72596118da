"""The valid examples of a dataset with their features, for jobs and previews."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import LAST, Content, Modality
from headstart_server.datasets.dataset_store import Dataset
from headstart_server.embedding.dataset_features import extract
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import RowFeatures
from headstart_server.errors import UnusableExamplesError
from headstart_server.evaluation.fit_analysis import FitAnalysis
from headstart_server.evaluation.paired_predictions import finite
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.analysis.analyzed_dataset import AnalyzedDataset
from headstart_server.learning.examples.dataset import ExampleFault
from headstart_server.learning.examples.near_duplicates import group_near_duplicates
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.target_count import check_trainable
from headstart_server.learning.features.feature_matrix import Float32, Ints
from headstart_server.learning.features.result_cache import frozen
from headstart_server.learning.heads.fitting import FittedHead
from headstart_server.learning.heads.split import held_out_for, strata


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureTable:
    """N valid examples as parallel arrays."""

    examples: Sequence[StoredExample]  # the examples, [N]
    indexes: Ints  # index of each in its dataset, [N]
    views: Mapping[str, Float32]  # features [N, D of the view] by view
    targets: Targets  # label of each, [N]
    digests: Sequence[str]  # content digest of each, [N]
    modality: Modality
    # content digests of texts that the backbone truncates
    truncated: Collection[str] = frozenset()

    @property
    def ids(self) -> Sequence[str]:
        """The caller's ID of each example, [N]."""
        return [example.id for example in self.examples]

    def part(self, chosen: NDArray[np.bool_]) -> "FeatureTable":
        """Return the examples chosen by a mask [N]."""
        if chosen.all():
            return self
        places = np.flatnonzero(chosen).tolist()
        return FeatureTable(
            examples=[self.examples[place] for place in places],
            indexes=self.indexes[chosen],
            views={name: frozen(matrix[chosen]) for name, matrix in self.views.items()},
            targets=self.targets.subset(chosen),
            digests=[self.digests[place] for place in places],
            modality=self.modality,
            truncated=self.truncated,
        )

    def held_out_mask(self, spec: FineTuneSpec, checkpoint: Callable[[], None]) -> NDArray[np.bool_]:
        """Return which examples are held out, [N]: marked ones, or a fraction with its duplicates."""
        if spec.held_out_fraction <= 0:
            return np.array([example.held_out for example in self.examples], np.bool_)
        alike = self.views[LAST] if LAST in self.views else next(iter(self.views.values()))
        # Near-duplicates on both sides would inflate the accuracy.
        groups = group_near_duplicates(
            alike, strata(self.targets), self.digests, modality=self.modality, checkpoint=checkpoint
        )
        return held_out_for(self.targets, groups, share=spec.held_out_fraction, seed=spec.seed)

    def analysis(
        self, fitted: FittedHead, held_out: NDArray[np.bool_], checkpoint: Callable[[], None]
    ) -> FitAnalysis:
        """Return the analysis of a head that was fitted on the examples that are not held out, [N]."""
        dataset = AnalyzedDataset(
            views=self.views,
            targets=self.targets,
            digests=self.digests,
            ids=self.ids,
            indexes=self.indexes,
            held_out=held_out,
            fitted=fitted,
            modality=self.modality,
            checkpoint=checkpoint,
            truncated=self.truncated,
        )
        return FitAnalysis(self.examples, dataset)


class FeatureExtraction:
    """Decode each different content of a dataset and pass it through the backbone, once.

    Attributes:
        faults: the invalid examples, by index; after `run` including undecodable ones.
        content_count: number of different contents.
    """

    def __init__(self, dataset: Dataset, views: Sequence[str], modality: Modality) -> None:
        self._dataset = dataset
        self.views = tuple(views)
        self.faults: dict[int, ExampleFault] = {
            fault.index: fault for fault in dataset.contradictions(modality)
        }
        self._places: dict[str, list[int]] = {}
        for index in self.usable:
            self._places.setdefault(dataset.examples[index].digest, []).append(index)
        self.content_count = len(self._places)
        self._rows: dict[str, Mapping[str, Float32]] = {}
        self._truncated: set[str] = set()
        self._modality = modality

    @property
    def usable(self) -> list[int]:
        """The indexes of the valid examples."""
        return [index for index in range(len(self._dataset)) if index not in self.faults]

    @property
    def usable_digests(self) -> list[str]:
        """The content digests of the valid examples."""
        return [self._dataset.examples[index].digest for index in self.usable]

    def run(
        self,
        embedder: Embedder,
        *,
        window: int,
        checkpoint: Callable[[], None],
        cuts: frozenset[str] = frozenset(),
        taken: Callable[[str, RowFeatures], None] = lambda _digest, _row: None,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        """Compute the features.

        Args:
            window: maximum examples in flight.
            checkpoint: called between pieces of work; may raise to stop.
            cuts: names of the cuts whose activations are needed in addition to the views.
            taken: called with each content's digest and its features, including activations.
            progress: called with the numbers of finished examples and of all.
        """
        first = [indexes[0] for indexes in self._places.values()]

        def read(place: int) -> Content:
            return self._dataset.read(first[place])

        done, total = 0, sum(map(len, self._places.values()))
        needed = [*self.views, *cuts]
        cached: list[str] = []
        for place, came in extract(
            embedder, list(self._places), read, window=window, cuts=cuts, checkpoint=checkpoint
        ):
            digest = self._dataset.examples[first[place]].digest
            outcome = finite(came, needed) if isinstance(came, RowFeatures) else came
            if isinstance(outcome, RowFeatures):
                self._rows[digest] = {name: outcome.views[name] for name in self.views}
                taken(digest, outcome)
                if outcome.truncation is not None:
                    self._truncated.add(digest)
                if outcome.from_cache:
                    cached.append(digest)
            else:
                for index in self._places[digest]:
                    self.faults[index] = self._dataset.fault(index, outcome)
            done += len(self._places[digest])
            progress(done, total)
        if self._modality is Modality.TEXT:
            self._truncated.update(self._truncated_in_cache(embedder, cached, checkpoint))

    def _truncated_in_cache(
        self, embedder: Embedder, digests: Sequence[str], checkpoint: Callable[[], None]
    ) -> Iterator[str]:
        """Yield the truncated contents among the cached ones, which were not decoded."""
        for digest in digests:
            checkpoint()
            if embedder.truncation(self._dataset.read(self._places[digest][0])) is not None:
                yield digest

    def table(self, known: FeatureTable | None = None) -> FeatureTable:
        """Return the valid examples after `run`, or with the features of the same contents in `known`."""
        usable = self.usable
        examples = [self._dataset.examples[index] for index in usable]
        check_trainable((example.target, example.held_out) for example in examples)
        digests = [example.digest for example in examples]
        return FeatureTable(
            examples=examples,
            indexes=np.array(usable, np.int64),
            views=self._stacked(digests) if known is None else known.views,
            targets=Targets.from_targets(
                [example.target for example in examples], [example.weight for example in examples]
            ),
            digests=digests,
            modality=self._modality if known is None else known.modality,
            truncated=frozenset(self._truncated) if known is None else known.truncated,
        )

    def _stacked(self, digests: Sequence[str]) -> Mapping[str, Float32]:
        return {
            name: frozen(np.stack([self._rows[digest][name] for digest in digests])) for name in self.views
        }


def check_faults(spec: FineTuneSpec, faults: Mapping[int, ExampleFault], count: int) -> None:
    """Raise UnusableExamplesError, which names the first, if more examples are invalid than allowed."""
    allowed = spec.droppable(count)
    if len(faults) <= allowed:
        return
    first = faults[min(faults)]
    name = f" ({first.id!r})" if first.id else ""
    raise UnusableExamplesError(
        f"{len(faults)} of {count} examples cannot be used, and max_excluded_fraction allows {allowed}. "
        f"The first is example {first.index}{name}: {first.message}",
        reason=first.reason,
        metadata={"unusable_examples": str(len(faults)), "examples": str(count)},
    )
