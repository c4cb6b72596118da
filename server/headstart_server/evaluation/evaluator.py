"""Evaluates a version, or compares two versions, on labeled examples. Nothing is stored."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from headstart_server.datasets.example_archive import ArchiveReader
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.errors import EmptyDataset, ModelNotFound, NoCommonExamples, WrongTask
from headstart_server.evaluation.batch_predictor import BatchPredictor, LoadedVersion, PredictedBatch
from headstart_server.evaluation.evaluation_memory import EvaluationMemory
from headstart_server.evaluation.paired_predictions import ComparedHead, ExampleAccess, pair_predictions
from headstart_server.learning.examples.dataset import DatasetLimits, Example
from headstart_server.learning.examples.target import Target
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.metrics.comparison import Comparison, PairedOutcome, compare, differing
from headstart_server.learning.metrics.evaluation import Evaluation, evaluate
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.learning.metrics.metrics import Metrics, MetricsSource
from headstart_server.learning.metrics.outcomes import LabeledOutputs, PredictionOutcome
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersion, embedder_of
from headstart_server.models.rows import version_not_ready_error
from headstart_server.models.version import Selector


class EvaluationRun:
    """The evaluation of one version on the examples of one caller.

    Args:
        memory: the memory of all evaluations.
        trained: content digests of the examples that the version was trained on.

    Attributes:
        trained_count: number of the caller's examples that the version was trained on.
    """

    def __init__(
        self, predictor: BatchPredictor, memory: EvaluationMemory, trained: Collection[str] = frozenset()
    ) -> None:
        self.predictor = predictor
        self.trained_count = 0
        self._memory = memory
        self._trained = trained
        self._received = 0
        self._names = set(predictor.versions[0].head.class_names)
        # The usable examples: their positions among the received ones, and the outputs in parts.
        self._places: list[int] = []
        self._examples: list[tuple[Target, float, str, str]] = []
        self._outputs: list[Float32] = []

    def add(self, examples: Sequence[Example]) -> None:
        """Predict some examples, and keep the outputs; raise JobMemoryLimit if they are too many."""
        for batch in self.predictor.answers(examples):
            usable = np.flatnonzero(batch.usable)
            for place in usable.tolist():
                example, digest = batch.examples[place], batch.digests[place]
                self._names.update(example.target.shares)
                self.trained_count += digest in self._trained
                self._places.append(self._received + place)
                self._examples.append((example.target, example.weight, example.id, digest))
            self._received += len(batch.examples)
            self._memory.take(self, len(self._places), len(self._names))
            self._outputs.append(batch.outputs[0][usable])

    def evaluation(self) -> Evaluation:
        """Return the evaluation of the version on the added examples."""
        if not self._received:
            raise EmptyDataset("There are no examples to evaluate the version on. Send labeled examples.")
        if not self._examples:
            return Evaluation(metrics=Metrics())
        head = self.predictor.versions[0].head
        targets, weights, ids, digests = zip(*self._examples, strict=True)
        self._outputs = [np.concatenate(self._outputs)]
        labeled = LabeledOutputs.from_head(
            targets, weights, self._outputs[0], head.thresholds, head.class_names
        )
        found = evaluate(
            labeled.targets,
            labeled.outputs,
            labeled.thresholds,
            ids,
            source=MetricsSource.HELD_OUT,
            groups=digests,
            interval=head.interval,
        )
        worst = tuple(replace(outcome, index=self._places[outcome.index]) for outcome in found.worst)
        return replace(found, worst=worst)


class ComparisonRun:
    """The comparison of two versions on a caller's examples, or without any on their own examples.

    Args:
        known: returns the predictions of the versions' own examples.
        trained: returns the content digests of the examples that each version was trained on.

    Attributes:
        trained_counts: number of the caller's examples that each version was trained on.
    """

    def __init__(
        self,
        predictor: BatchPredictor,
        known: Callable[[], Sequence[PairedOutcome]],
        trained: Callable[[], Sequence[Collection[str]]],
    ) -> None:
        self.predictor = predictor
        self.trained_counts = (0, 0)
        self._known = known
        self._read_trained = trained
        self._trained: Sequence[Collection[str]] = ()
        self._pairs: list[PairedOutcome] = []
        self._received = 0

    def add(self, examples: Sequence[Example]) -> None:
        """Predict some examples, and keep the predictions."""
        self._trained = self._trained or self._read_trained()
        for batch in self.predictor.answers(examples):
            self._add(batch)

    def _add(self, batch: PredictedBatch) -> None:
        received, self._received = self._received, self._received + len(batch.examples)
        places = np.flatnonzero(batch.usable).tolist()
        if not places:
            return
        usable = [batch.examples[place] for place in places]
        first, second = (sum(batch.digests[place] in each for place in places) for each in self._trained)
        self.trained_counts = (self.trained_counts[0] + first, self.trained_counts[1] + second)
        outcomes = [self._outcomes(batch, usable, side) for side in (0, 1)]
        self._pairs += [
            PairedOutcome(
                target=example.target,
                weight=example.weight,
                first=one,
                second=other,
                index=received + place,
                id=example.id,
            )
            for place, example, one, other in zip(places, usable, *outcomes, strict=True)
        ]

    def comparison(self) -> Comparison:
        """Return the comparison; raise NoCommonExamples if there are no examples to compare on."""
        if self._received and not self._pairs:
            fault = self.predictor.faults[0]
            raise NoCommonExamples(
                f"None of the {self._received} examples can be used. The first is example {fault.index}: "
                f"{fault.message}"
            )
        if not self._pairs:
            self._pairs += self._known()
        return compare(self._pairs)

    def differing(self) -> tuple[Sequence[PairedOutcome], Sequence[PairedOutcome]]:
        """Return the examples that only the first version predicts correctly, and those for the second."""
        return differing(self._pairs)

    def _outcomes(
        self, batch: PredictedBatch, usable: Sequence[Example], side: int
    ) -> Sequence[PredictionOutcome]:
        head = self.predictor.versions[side].head
        labeled = LabeledOutputs.from_head(
            [example.target for example in usable],
            [example.weight for example in usable],
            batch.outputs[side][batch.usable],
            head.thresholds,
            head.class_names,
        )
        return list(labeled.outcomes())


class Evaluator:
    """Starts evaluations and comparisons of versions.

    Args:
        is_under_way: whether a job for a model is queued or running.
        reader: opens a reader of stored contents.
        window: maximum number of examples in flight to a backbone.
        memory_bytes: maximum memory of all evaluations together; None for no limit.
    """

    def __init__(
        self,
        registry: Registry,
        pool: BackbonePool,
        is_under_way: Callable[[str], bool],
        reader: Callable[[], ArchiveReader],
        *,
        limits: DatasetLimits,
        window: int,
        memory_bytes: int | None = None,
    ) -> None:
        self._registry = registry
        self.pool = pool
        self._is_under_way = is_under_way
        self._reader = reader
        self._limits = limits
        self._window = window
        self._memory = EvaluationMemory(memory_bytes)

    def evaluation(self, target: Selector) -> EvaluationRun:
        """Start the evaluation of a version."""
        loaded = self._load(target)
        return EvaluationRun(self._predictor([loaded]), self._memory, self._trained(loaded.version))

    def comparison(self, first: Selector, second: Selector) -> ComparisonRun:
        """Start the comparison of two versions."""
        loaded = [self._load(first), self._load(second)]
        one, other = (each.version for each in loaded)
        if one.head.task is not other.head.task:
            raise WrongTask(
                "Expected two versions of the same task. "
                f"Received: version {one.number} of model '{one.model}' of task {one.head.task}, "
                f"and version {other.number} of model '{other.model}' of task {other.head.task}.",
                field="spec.second",
            )
        predictor = self._predictor(loaded)
        return ComparisonRun(
            predictor,
            lambda: self._known_pairs(loaded, predictor.check_connected),
            lambda: [self._trained(each.version) for each in loaded],
        )

    def _predictor(self, loaded: Sequence[LoadedVersion]) -> BatchPredictor:
        return BatchPredictor(loaded, self._limits, window=self._window)

    def _load(self, selector: Selector) -> LoadedVersion:
        try:
            number = self._registry.selected(selector).number
        except ModelNotFound:
            if self._is_under_way(selector.model):
                raise version_not_ready_error(selector.model) from None
            raise
        version = self._registry.files.load(selector.model, number)
        return LoadedVersion(version=version, embedder=embedder_of(version, self.pool))

    def _known_pairs(
        self, loaded: Sequence[LoadedVersion], check_connected: Callable[[], None]
    ) -> Sequence[PairedOutcome]:
        first, second = (
            ComparedHead(
                head=each.version.head,
                tail=each.version.tail,
                embedder=each.embedder,
                known=self._examples(each.version),
            )
            for each in loaded
        )
        reading = ExampleAccess(reader=self._reader, window=self._window, checkpoint=check_connected)
        return pair_predictions(first, second, reading)

    def _trained(self, version: ResidentVersion) -> Collection[str]:
        """Return the digests of the examples that a version was trained on; none if they are unknown."""
        known = self._read_examples(version)
        return frozenset() if known is None else {one.digest for one in known.examples if not one.held_out}

    def _read_examples(self, version: ResidentVersion) -> ExampleList | None:
        return self._registry.files.examples(self._registry.reader.version(version.model, version.number))

    def _examples(self, version: ResidentVersion) -> ExampleList:
        known = self._read_examples(version)
        if known is None:
            raise NoCommonExamples(
                f"The training examples of version {version.number} of model '{version.model}' are unknown, "
                "because an older release created it. Send labeled examples to compare on."
            )
        return known
