"""Measures versions on labelled examples: one by itself, or two side by side. Nothing is stored."""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from headstart_server.datasets.example_archive import ArchiveReader
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.errors import EmptyDataset, ModelNotFound, NoCommonExamples, WrongTask
from headstart_server.evaluation.batch_predictor import BatchPredictor, LoadedVersion, PredictedBatch
from headstart_server.evaluation.paired_predictions import ComparedHead, ExampleAccess, pair_predictions
from headstart_server.learning.examples.dataset import DatasetLimits, Example
from headstart_server.learning.examples.target import Target
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.metrics.comparison import Comparison, PairedOutcome, compare, differing
from headstart_server.learning.metrics.evaluation import Evaluation, evaluate
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.learning.metrics.metrics import MetricsSource
from headstart_server.learning.metrics.outcomes import LabeledOutputs, PredictionOutcome
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersion, embedder_of
from headstart_server.models.rows import version_not_ready_error
from headstart_server.models.version import Selector


class EvaluationRun:
    """One version on the examples of one caller.

    Args:
        trained: content digests of the examples that the version was trained on.

    Attributes:
        trained_count: number of the caller's examples that the version was trained on.
    """

    def __init__(self, predictor: BatchPredictor, trained: Collection[str] = frozenset()) -> None:
        self.predictor = predictor
        self.trained_count = 0
        self._trained = trained
        self._digests: list[str] = []
        self._targets: list[Target] = []
        self._weights: list[float] = []
        self._ids: list[str] = []
        self._usable: list[np.ndarray] = []
        self._outputs: list[Float32] = []

    def add(self, examples: Sequence[Example]) -> None:
        """Answer some examples, and keep the answers."""
        batch = self.predictor.answer(examples)
        self._targets += [example.target for example in batch.examples]
        self._weights += [example.weight for example in batch.examples]
        self._ids += [example.id for example in batch.examples]
        self._digests += batch.digests
        usable = np.flatnonzero(batch.usable).tolist()
        self.trained_count += sum(batch.digests[place] in self._trained for place in usable)
        self._usable.append(batch.usable)
        self._outputs.append(batch.outputs[0])

    def evaluation(self) -> Evaluation:
        """How good the version is on what came."""
        if not self._targets:
            raise EmptyDataset("Expected labelled examples to measure the version on. Received: no example.")
        head = self.predictor.versions[0].head
        answered = LabeledOutputs.from_head(
            self._targets, self._weights, np.concatenate(self._outputs), head.thresholds, head.class_names
        )
        return evaluate(
            answered.targets,
            answered.outputs,
            answered.thresholds,
            self._ids,
            source=MetricsSource.HELD_OUT,
            groups=self._digests,
            counted=np.concatenate(self._usable),
            interval=head.interval,
        )


class ComparisonRun:
    """Two versions on the examples of one caller or, if none come, on those that both know."""

    def __init__(self, predictor: BatchPredictor, known: Callable[[], Sequence[PairedOutcome]]) -> None:
        self.predictor = predictor
        self._known = known
        self._pairs: list[PairedOutcome] = []
        self._came = 0

    def add(self, examples: Sequence[Example]) -> None:
        """Answer some examples, and keep the predictions."""
        batch = self.predictor.answer(examples)
        came, self._came = self._came, self._came + len(batch.examples)
        places = np.flatnonzero(batch.usable).tolist()
        if not places:
            return
        usable = [batch.examples[place] for place in places]
        first, second = (self._outcomes(batch, usable, side) for side in (0, 1))
        self._pairs += [
            PairedOutcome(
                target=example.target,
                weight=example.weight,
                first=one,
                second=other,
                index=came + place,
                id=example.id,
            )
            for place, example, one, other in zip(places, usable, first, second, strict=True)
        ]

    def comparison(self) -> Comparison:
        """The two versions side by side. Raise NoCommonExamples if there is nothing to compare on."""
        if self._came and not self._pairs:
            fault = self.predictor.faults[0]
            raise NoCommonExamples(
                f"None of the {self._came} examples can be used. The first is example {fault.index}: "
                f"{fault.message}"
            )
        if not self._pairs:
            self._pairs += self._known()
        return compare(self._pairs)

    def differing(self) -> tuple[Sequence[PairedOutcome], Sequence[PairedOutcome]]:
        """The examples of `comparison` that only the first version predicts correctly, or only the second."""
        return differing(self._pairs)

    def _outcomes(
        self, batch: PredictedBatch, usable: Sequence[Example], side: int
    ) -> Sequence[PredictionOutcome]:
        head = self.predictor.versions[side].head
        answered = LabeledOutputs.from_head(
            [example.target for example in usable],
            [example.weight for example in usable],
            batch.outputs[side][batch.usable],
            head.thresholds,
            head.class_names,
        )
        return list(answered.outcomes())


class Evaluator:
    """Opens measurements of versions.

    Args:
        is_under_way: whether a job for a model is queued or running.
        reader: opens a reader of stored contents.
        window: most examples under way to a backbone at once.
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
    ) -> None:
        self._registry = registry
        self.pool = pool
        self._is_under_way = is_under_way
        self._reader = reader
        self._limits = limits
        self._window = window

    def evaluation(self, target: Selector) -> EvaluationRun:
        """Open the measurement of a version."""
        respondent = self._respondent(target)
        version = self._registry.reader.version(respondent.version.model, respondent.version.number)
        known = self._registry.files.examples(version)
        trained = {one.digest for one in known.examples if not one.held_out} if known is not None else set()
        return EvaluationRun(self._predictor([respondent]), trained)

    def comparison(self, first: Selector, second: Selector) -> ComparisonRun:
        """Open the comparison of two versions."""
        respondents = [self._respondent(first), self._respondent(second)]
        one, other = (respondent.version for respondent in respondents)
        if one.head.task is not other.head.task:
            raise WrongTask(
                "Expected two versions of one task. "
                f"Received: version {one.number} of model '{one.model}' of task {one.head.task}, "
                f"and version {other.number} of model '{other.model}' of task {other.head.task}.",
                field="spec.second",
            )
        predictor = self._predictor(respondents)
        return ComparisonRun(predictor, lambda: self._known_pairs(respondents, predictor.check_connected))

    def _predictor(self, respondents: Sequence[LoadedVersion]) -> BatchPredictor:
        return BatchPredictor(respondents, self._limits, window=self._window)

    def _respondent(self, selector: Selector) -> LoadedVersion:
        try:
            number = self._registry.selected(selector).number
        except ModelNotFound:
            if self._is_under_way(selector.model):
                raise version_not_ready_error(selector.model) from None
            raise
        version = self._registry.files.load(selector.model, number)
        return LoadedVersion(version=version, embedder=embedder_of(version, self.pool))

    def _known_pairs(
        self, respondents: Sequence[LoadedVersion], check_connected: Callable[[], None]
    ) -> Sequence[PairedOutcome]:
        first, second = (
            ComparedHead(
                head=respondent.version.head,
                tail=respondent.version.tail,
                embedder=respondent.embedder,
                known=self._examples(respondent.version),
            )
            for respondent in respondents
        )
        reading = ExampleAccess(reader=self._reader, window=self._window, checkpoint=check_connected)
        return pair_predictions(first, second, reading)

    def _examples(self, version: ResidentVersion) -> ExampleList:
        known = self._registry.files.examples(self._registry.reader.version(version.model, version.number))
        if known is None:
            raise NoCommonExamples(
                f"Of version {version.number} of model '{version.model}' it is not known what it was trained "
                "on: it is too old. Send labelled examples to compare on."
            )
        return known
