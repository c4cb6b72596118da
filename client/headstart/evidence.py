"""Settings of abstention, neighbors, influence and saliency."""

from dataclasses import dataclass
from typing import Final

from headstart.v1 import prediction_service_pb2 as pb

MAX_SALIENCY_INPUTS: Final = 8
"""Maximum number of inputs of a call with saliency: each takes about 50 passes of the backbone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Abstention:
    """The conditions under which an input is reported as unknown.

    Attributes:
        false_alarm_rate: the fraction of inputs like the training examples that may be reported as unknown by
            mistake, 0 to 0.5. None: 0.05. 0 reports no input as unlike the training examples.
        min_probability: minimum probability of the most probable class, 0 to 1.
    """

    false_alarm_rate: float | None = None
    min_probability: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Evidence requested in addition to the labels.

    Attributes:
        abstention: conditions of unknown inputs; None: none.
        neighbors: maximum number of training examples for each input, nearest first.
        influence: maximum number of training examples for each input, by descending absolute influence.
        saliency: the class that the saliency map explains, empty for the most probable one; None: no map.
    """

    abstention: Abstention | None = None
    neighbors: int = 0
    saliency: str | None = None
    influence: int = 0

    def write(self, request: pb.PredictRequest) -> None:
        """Write the settings into a request."""
        request.neighbors = self.neighbors
        request.influence = self.influence
        if self.abstention is not None:
            request.abstention.min_probability = self.abstention.min_probability
            if self.abstention.false_alarm_rate is not None:
                request.abstention.false_alarm_rate = self.abstention.false_alarm_rate
        if self.saliency is not None:
            request.saliency.class_name = self.saliency
            request.saliency.overlay = True  # the cost of the image is negligible


def make_evidence(
    abstain: bool | float | Abstention | None, neighbors: int, saliency: bool | str, influence: int = 0
) -> Evidence:
    """Return the evidence that the arguments of `predict` request."""
    match abstain:
        case bool() | None:
            abstention = Abstention() if abstain else None
        case Abstention():
            abstention = abstain
        case rate:
            abstention = Abstention(false_alarm_rate=float(rate))
    rate = abstention.false_alarm_rate if abstention else None
    if rate is not None and not 0 <= rate <= 0.5:
        raise ValueError(f"abstain must be a rate of false alarms from 0 to 0.5. Received: {rate}")
    if neighbors < 0:
        raise ValueError(f"neighbors must be 0 or more. Received: {neighbors}")
    if influence < 0:
        raise ValueError(f"influence must be 0 or more. Received: {influence}")
    explained_class = "" if saliency is True else saliency or None
    return Evidence(abstention=abstention, neighbors=neighbors, saliency=explained_class, influence=influence)
