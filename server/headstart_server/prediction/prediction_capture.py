"""The interface of prediction capture that Predict uses."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from headstart_server.backbones.contract.backbone import Content
from headstart_server.embedding.queue import RowFeatures
from headstart_server.prediction.version_prediction import PredictResult

# Each call runs in a separate task.
_IS_TRAFFIC: ContextVar[bool] = ContextVar("is_traffic", default=True)


@contextmanager
def outside_traffic() -> Iterator[None]:
    """Keep predictions out of the random sample, which measures the accuracy for the model's own callers."""
    before = _IS_TRAFFIC.set(False)
    try:
        yield
    finally:
        _IS_TRAFFIC.reset(before)


def is_traffic() -> bool:
    """Return whether predictions of this task may be in the random sample."""
    return _IS_TRAFFIC.get()


class PredictionCapture(Protocol):
    """Gives predictions their IDs, and stores some of their inputs in the background."""

    def observe(
        self, result: PredictResult, rows: Mapping[str, Sequence[RowFeatures]], contents: Sequence[Content]
    ) -> PredictResult:
        """Return a result with the IDs of its predictions. Runs in an event loop and does not block it.

        Args:
            result: the result of a Predict.
            rows: features of the inputs that were not skipped, by backbone.
            contents: all inputs.
        """
