"""Training examples of versions in memory, to compute the influence of each on predictions."""

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from headstart_server.datasets.example_archive import ArchiveReader
from headstart_server.embedding.dataset_features import extract
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import RowFeatures, stacked
from headstart_server.errors import ExamplesNotKept, InvalidField
from headstart_server.learning.analysis.neighbors import NeighborExample
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.heads.influence import HeadMismatchError, RidgeInfluence, required_bytes
from headstart_server.learning.heads.recipe import Ridge
from headstart_server.lru import LruCache
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersion
from headstart_server.models.version import Version
from headstart_server.prediction.influence import ExampleInfluence, Views


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class InfluenceModel:
    """The training examples of one version, and the influence of each on predictions."""

    examples: Sequence[NeighborExample]
    ridge: RidgeInfluence

    def influences(self, views: Views, count: int) -> list[list[ExampleInfluence]]:
        """Return the most influential examples for each of n inputs, by descending absolute change."""
        return [
            [
                ExampleInfluence(
                    example=self.examples[each.place],
                    score_change=each.score_change,
                    probability_change=each.probability_change,
                )
                for each in of_input
            ]
            for of_input in self.ridge.influences(views, count)
        ]


class InfluenceModels:
    """Builds influence models from stored examples and cached features; caches the most recent ones.

    Args:
        reader: opens a reader of stored contents.
        window: maximum number of examples in flight between archive and backbone.
        max_bytes: bytes of all models in memory; a larger model is rejected.
    """

    def __init__(
        self, registry: Registry, reader: Callable[[], ArchiveReader], *, window: int, max_bytes: int
    ) -> None:
        self._registry = registry
        self._reader = reader
        self._window = window
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._models: LruCache[str, InfluenceModel] = LruCache(max_bytes, lambda model: model.ridge.nbytes)

    @property
    def nbytes(self) -> int:
        """Bytes of the models in memory."""
        return self._models.size

    def get(self, version: ResidentVersion, embedder: Embedder) -> InfluenceModel:
        """Return the model of a version. The first call reads the features of all its training examples."""
        stored = self._registry.reader.version(version.model, version.number)
        with self._lock:
            found = self._models.get(stored.artifact)
        if found is None:
            found = self._build(stored, version, embedder)
            with self._lock:
                self._models.add(stored.artifact, found)
        return found

    def clear(self) -> None:
        """Drop all models, because the content of an example was erased."""
        with self._lock:
            for artifact in list(self._models):
                self._models.pop(artifact)

    def _build(self, stored: Version, version: ResidentVersion, embedder: Embedder) -> InfluenceModel:
        recipe = stored.manifest.recipe
        if not isinstance(recipe, Ridge):
            raise InvalidField(
                "Expected a version with the recipe ridge for influence. Received: version "
                f"{stored.number} of model '{stored.model}' with the recipe {type(recipe).__name__.lower()}. "
                "Omit influence, or fine-tune with the recipe auto or ridge.",
                field="influence",
            )
        listed = self._registry.files.examples(stored)
        indexed = [
            (index, example)
            for index, example in enumerate(() if listed is None else listed.examples)
            if not example.held_out
        ]
        # A held-out fraction is recorded with the predictions of the version only.
        if listed is not None and listed.outcomes:
            indexed = [
                (index, example)
                for index, example in indexed
                if (outcome := listed.outcomes[index]) is None or not outcome.held_out
            ]
        if len(indexed) != stored.manifest.example_count:
            raise _not_kept(stored)
        size = sum(embedder.info.views[view] for view in recipe.views)
        columns = max(len(stored.manifest.class_names), 1)
        self._check_size(stored, required_bytes(len(indexed), size, columns))
        examples = [example for _, example in indexed]
        try:
            ridge = RidgeInfluence(
                version.head,
                recipe,
                self._features(stored, recipe.views, examples, embedder),
                Targets.from_targets(
                    [example.target for example in examples],
                    [example.weight for example in examples],
                    stored.manifest.class_names or None,
                ),
            )
        except HeadMismatchError as error:
            raise _not_kept(stored) from error
        named = [
            NeighborExample(index=index, id=example.id, target=example.target) for index, example in indexed
        ]
        return InfluenceModel(examples=named, ridge=ridge)

    def _check_size(self, stored: Version, nbytes: int) -> None:
        if nbytes > self._max_bytes:
            raise InvalidField(
                f"Influence for version {stored.number} of model '{stored.model}' needs {nbytes >> 20:,} MiB "
                f"of memory, and at most {self._max_bytes >> 20:,} MiB is allowed. Omit influence, or "
                "increase --version-cache-memory, of which influence uses half.",
                field="influence",
            )

    def _features(
        self, stored: Version, views: Sequence[str], examples: Sequence[StoredExample], embedder: Embedder
    ) -> dict[str, Float32]:
        """Return the features [N, D of the view] of examples by view; each content is read once."""
        digests = [example.digest for example in examples]
        rows: dict[str, RowFeatures] = {}
        with closing(self._reader()) as contents:
            for place, came in extract(
                embedder, digests, lambda place: contents.read(examples[place]), window=self._window
            ):
                if not isinstance(came, RowFeatures):
                    raise _not_kept(stored) from came
                rows[digests[place]] = came
        return {
            view: np.ascontiguousarray(matrix)
            for view, matrix in stacked([rows[digest] for digest in digests], views).items()
        }


def _not_kept(stored: Version) -> ExamplesNotKept:
    return ExamplesNotKept(
        f"Influence needs all training examples of version {stored.number} of model '{stored.model}', and "
        "some were deleted. Omit influence, or fine-tune again.",
        metadata={"model": stored.model, "version": str(stored.number)},
    )
