"""What a solver hands back."""

from dataclasses import dataclass

from headstart_server.backbones.tail import TailWeights
from headstart_server.learning.calibration import Calibration
from headstart_server.learning.cross_fitting import CrossFitted
from headstart_server.learning.head import HiddenLayer
from headstart_server.learning.lbfgs import StopReason
from headstart_server.learning.rows import Float64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SolverResult:
    """A head's numbers and what cross-validation said of them.

    Attributes:
        weights: [D, C] for prepared features, or [H, C] behind a hidden layer.
        bias: [C].
        calibration: of its scores.
        regularization: as given or chosen; None where the solver has none.
        loss: mean out-of-fold loss of the task after calibration, by which choices are made: log loss on
            smoothed labels, or the squared error as a share of the variance; None where nothing could be
            validated.
        scores: out-of-fold scores of each example in the order of its rows, [N, C]; None likewise.
        cross_fitted: gives the out-of-fold outputs that the head is measured by; None likewise.
        stop_reason: why it ended; None for a closed form.
        hidden: the hidden layer; None for a linear head.
        epochs: epochs that the head was trained for; 0 for a solver without.
        tail: the weights of a tail that gives the `last` view of this head; None for the backbone's own.
        note: what a person should know of how it came about; may be empty.
    """

    weights: Float64
    bias: Float64
    calibration: Calibration
    regularization: float | None = None
    loss: float | None = None
    scores: Float64 | None = None
    cross_fitted: CrossFitted | None = None
    stop_reason: StopReason | None = None
    hidden: HiddenLayer | None = None
    epochs: int = 0
    tail: TailWeights | None = None
    note: str = ""
