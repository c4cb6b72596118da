"""What a capture of predictions offers to Predict."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from headstart_server.backbones.contract.backbone import Content
from headstart_server.embedding.queue import RowFeatures
from headstart_server.prediction.version_prediction import PredictResult


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
