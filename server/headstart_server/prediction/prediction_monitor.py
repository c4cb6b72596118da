"""Samples of answered Predicts, measured for drift and for agreement with another version."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from math import sqrt

import numpy as np
import structlog

from headstart_server.embedding.queue import RowFeatures, stacked
from headstart_server.errors import AliasNotFound, ServiceUnavailable, VersionNotFound
from headstart_server.learning.analysis.typicality import TypicalityModel
from headstart_server.learning.features.feature_matrix import Float64
from headstart_server.lru import LruCache
from headstart_server.models.evidence import TYPICALITY_FILE
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersion
from headstart_server.models.traffic import Traffic
from headstart_server.models.version import Selector
from headstart_server.observability.telemetry import Telemetry
from headstart_server.prediction.head_predictions import agreement
from headstart_server.prediction.prediction_drift import PredictionDrift, expected_predictions
from headstart_server.prediction.version_prediction import VersionPrediction

#: The alias of each model's shadow.
SHADOW_ALIAS = "shadow"


def shadow_of(
    registry: Registry, version: ResidentVersion, alias: str = SHADOW_ALIAS
) -> ResidentVersion | None:
    """Return the shadow of a version if its head can be applied to the same features; otherwise None.

    Raise VersionNotFound or ArtifactDamaged if the shadow was deleted meanwhile, or its files are damaged,
    and ServiceUnavailable if its files cannot be read now.
    """
    try:
        number = registry.index.resolve(Selector(model=version.model, alias=alias))
    except AliasNotFound:
        return None
    return None if number == version.number else comparable(registry, version, number)


def comparable(registry: Registry, version: ResidentVersion, number: int) -> ResidentVersion | None:
    """Return another version of the same model if its head can be applied to the same features; else None.

    Raise VersionNotFound or ArtifactDamaged if it was deleted meanwhile, or its files are damaged, and
    ServiceUnavailable if its files cannot be read now.
    """
    shadow = registry.files.resident(version.model, number) or registry.files.load(version.model, number)
    same = shadow.backbone_digest == version.backbone_digest and shadow.tail is None
    return shadow if same and shadow.head.task is version.head.task else None


log = structlog.get_logger(__name__)

#: Horizon of exponential means, in inputs: recent inputs dominate, and the mean is still accurate.
HORIZON = 1000
#: Minimum inputs of a version for a drift.
FEWEST = 30
#: Maximum versions whose inputs are followed, the most recently used.
MAX_FOLLOWED = 200


class Drift:
    """The distance between the mean features of recent inputs and of the training examples.

    The features are those of the typicality model. The unit is the spread of the training examples: the
    root of their mean squared distance from their mean. The expected distance between the means of two
    samples without drift is subtracted, so the result is about 0 without drift.

    Args:
        typicality_model: the stored training features of the version.
    """

    def __init__(self, typicality_model: TypicalityModel) -> None:
        self._space = typicality_model.references
        rows = self._space.exact()
        self._views = typicality_model.views
        self._trained: Float64 = rows.mean(axis=0)
        self._spread = max(float(((rows - self._trained) ** 2).sum(axis=1).mean()), 1e-12)
        self._references = len(rows)
        self._mean: Float64 = np.zeros_like(self._trained)
        self.count = 0

    @property
    def views(self) -> tuple[str, ...]:
        """The backbone's views that it uses."""
        return self._views

    def add(self, rows: Sequence[RowFeatures]) -> None:
        """Add inputs."""
        for row in self._space.prepared(stacked(rows, self._views)):
            self.count += 1
            self._mean += (row - self._mean) / min(self.count, HORIZON)

    @property
    def shift(self) -> float:
        """The distance between the means, in spreads."""
        squared = float(((self._mean - self._trained) ** 2).sum()) / self._spread
        # An exponential mean over a horizon is as accurate as a mean of twice as many inputs.
        known = min(self.count, 2 * HORIZON)
        return sqrt(max(0.0, squared - 1 / known - 1 / self._references))


@dataclass(kw_only=True, slots=True, eq=False)
class _Followed:
    """The drifts of a version; None for a drift without stored data."""

    inputs: Drift | None
    answers: PredictionDrift | None


@dataclass(kw_only=True, slots=True, eq=False)
class _Look:
    answer: VersionPrediction
    rows: Sequence[RowFeatures]


class PredictionMonitor:
    """Measure sampled Predicts for drift and shadow agreement, one at a time in a thread: no call waits.

    Args:
        registry: has the versions.
        observer: records drift and agreement.
        share: fraction of Predicts that are sampled, above 0, at most 1.
        shadow_alias: the alias of a model's shadow: another version of the model on the same backbone,
            whose head predicts from the same features.
        traffic: records drift for all replicas; None records none.
    """

    def __init__(
        self,
        registry: Registry,
        observer: Telemetry,
        *,
        share: float,
        shadow_alias: str,
        traffic: Traffic | None = None,
    ) -> None:
        self._traffic = traffic
        self._registry = registry
        self._observer = observer
        self._share = share
        self._alias = shadow_alias
        self._due = 0.0
        self._busy = threading.Lock()
        self._followed: LruCache[tuple[str, int], _Followed] = LruCache(MAX_FOLLOWED)

    def sample(self, answer: VersionPrediction, rows: Sequence[RowFeatures]) -> "Future[None] | None":
        """Measure an answered Predict if it is sampled. Call it in an event loop.

        Returns:
            A future that ends after the measurement; None if the Predict is not sampled, or another one is
            being measured.
        """
        self._due += self._share
        if self._due < 1:
            return None
        self._due -= 1
        if not self._busy.acquire(blocking=False):
            return None
        look: Future[None] = Future()

        def work() -> None:
            try:
                self._look(_Look(answer=answer, rows=rows))
            finally:
                self._busy.release()
                look.set_result(None)

        try:
            asyncio.get_running_loop().run_in_executor(None, work)
        except BaseException:
            self._busy.release()
            raise
        return look

    def _look(self, look: _Look) -> None:
        try:
            self._measure_drift(look)
            self._compare_shadow(look)
            self._compare_split(look)
        except (ServiceUnavailable, VersionNotFound):
            # The version was deleted, or its files are unavailable now: skip this sample.
            return
        except Exception:
            log.exception("prediction_monitoring_failed", model=look.answer.version.model)

    def _measure_drift(self, look: _Look) -> None:
        version = look.answer.version
        followed = self._follow(version)
        inputs, answers = followed.inputs, followed.answers
        drift: dict[str, float] = {}
        if inputs is not None:
            inputs.add(look.rows)
            if inputs.count >= FEWEST:
                drift["feature_drift"] = inputs.shift
                self._observer.feature_drift_measured(version.model, version.number, inputs.shift)
        if answers is not None:
            answers.add(look.answer.outputs)
            if answers.is_known:
                shift, confidence = answers.shift, answers.confidence_shift
                drift["prediction_drift"] = shift
                if confidence is not None:
                    drift["confidence_drift"] = confidence
                self._observer.prediction_drift_measured(version.model, version.number, shift, confidence)
        if self._traffic is not None:
            self._traffic.drifted(version.model, version.number, len(look.rows), drift)

    def _follow(self, version: ResidentVersion) -> _Followed:
        key = (version.model, version.number)
        followed = self._followed.get(key)
        if followed is not None:
            return followed
        known = self._registry.files.with_evidence(version, (TYPICALITY_FILE,)).evidence.typicality_model
        expected = expected_predictions(self._registry, version)
        followed = _Followed(
            inputs=None if known is None else Drift(known),
            answers=None if expected is None else PredictionDrift(expected, horizon=HORIZON, fewest=FEWEST),
        )
        self._followed.add(key, followed)
        return followed

    def _compare_shadow(self, look: _Look) -> None:
        version = look.answer.version
        shadow = shadow_of(self._registry, version, self._alias)
        agreed = None if shadow is None else _agreed(look, shadow)
        if shadow is not None and agreed is not None:
            self._observer.shadow_compared(version.model, shadow.number, agreed, len(look.rows) - agreed)

    def _compare_split(self, look: _Look) -> None:
        version = look.answer.version
        if self._traffic is None:
            return
        for counted, number in self._registry.index.split_pairs(version.model, version.number):
            other = comparable(self._registry, version, number)
            agreed = None if other is None else _agreed(look, other)
            if agreed is not None:
                self._traffic.split_compared(version.model, counted, len(look.rows), agreed)


def _agreed(look: _Look, other: ResidentVersion) -> int | None:
    """Return the number of inputs for which another version agrees; None if they are not comparable."""
    theirs = other.head.outputs(stacked(look.rows, other.head.views))
    agrees = agreement(look.answer.version.head, look.answer.outputs, other.head, theirs)
    return None if agrees is None else int(agrees.sum())
