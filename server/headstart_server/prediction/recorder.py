"""The one observer of Predict calls: statistics, metrics, traces, traffic and drift, for every protocol."""

from collections.abc import Iterable, Mapping, Sequence

from headstart_server.embedding.queue import RowFeatures
from headstart_server.models.resident import ResidentVersion
from headstart_server.models.traffic import Traffic
from headstart_server.observability.telemetry import Telemetry
from headstart_server.observability.tracing import NO_TRACING, Tracing
from headstart_server.prediction.prediction_monitor import PredictionMonitor
from headstart_server.prediction.statistics import Statistics
from headstart_server.prediction.version_prediction import PredictResult


class PredictionRecorder:
    """Record each Predict once for each of its versions. One event loop uses it.

    Args:
        telemetry: metrics of calls; None records none.
        traffic: counts by version of all replicas; None counts none.
        monitor: samples answered calls for drift and a shadow; None samples none.
        tracing: spans of the stages of answered calls.
    """

    def __init__(
        self,
        telemetry: Telemetry | None = None,
        *,
        traffic: Traffic | None = None,
        monitor: PredictionMonitor | None = None,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        #: Counts by version of this replica.
        self.statistics = Statistics()
        self._telemetry = telemetry
        self._traffic = traffic
        self._monitor = monitor
        self._tracing = tracing

    def answered(self, result: PredictResult, rows: Mapping[str, Sequence[RowFeatures]], inputs: int) -> None:
        """Record an answered call.

        Args:
            result: the result.
            rows: features of the inputs that were not skipped, by backbone.
            inputs: number of inputs, including those that were skipped.
        """
        # By version: a call may name one twice.
        predictions = {(each.version.model, each.version.number): each for each in result.predictions}
        for (model, number), prediction in predictions.items():
            self.statistics.answered(model, number, inputs, result.times)
            if self._traffic is not None:
                abstained = prediction.abstention_result
                unknowns = 0 if abstained is None else len(abstained.reasons) - abstained.reasons.count(None)
                seconds = result.times.total
                self._traffic.answered(model, number, inputs=inputs, unknowns=unknowns, seconds=seconds)
        first = result.predictions[0]
        stages = result.times._asdict()
        if self._telemetry is not None:
            self._telemetry.predicted(stages, dict.fromkeys(predictions, inputs))
        if self._tracing.is_on:
            version = first.version
            self._tracing.stages(stages, model=version.model, version=version.number, inputs=inputs)
        if self._monitor is not None:
            self._monitor.sample(first, rows[first.version.backbone])

    def failed(self, versions: Iterable[ResidentVersion], seconds: float) -> None:
        """Record a call that found its versions and then failed after so many seconds, or was cancelled."""
        for model, number in {(version.model, version.number) for version in versions}:
            self.statistics.failed(model, number, seconds)
            if self._traffic is not None:
                self._traffic.failed(model, number)

    def canary_ended(self, versions: Iterable[tuple[str, int]], code: str, seconds: float) -> None:
        """Record the end of a call to an alias with a traffic split, which was routed to `versions`."""
        if self._telemetry is not None:
            self._telemetry.canary_call_ended(versions, code, seconds)
