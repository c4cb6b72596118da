"""The result of a solver."""

from dataclasses import dataclass

from headstart_server.backbones.contract.tail import TailWeights
from headstart_server.learning.features.feature_matrix import Float64
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.cross_fitting import CrossFitted
from headstart_server.learning.heads.head import HiddenLayer
from headstart_server.learning.heads.lbfgs import StopReason


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SolverResult:
    """The arrays of a head and its cross-validation.

    Attributes:
        weights: [D, C] for scaled features, or [H, C] behind a hidden layer.
        bias: [C].
        regularization: as given or selected; None if the solver has none.
        loss: mean out-of-fold loss after calibration, by which choices are made: log loss on smoothed labels,
            or the squared error relative to the variance; None if nothing could be validated.
        scores: out-of-fold scores in the order of the rows, [N, C]; None likewise.
        cross_fitted: returns the out-of-fold outputs that the head is measured by; None likewise.
        stop_reason: why the solver ended; None for a closed form.
        hidden: the hidden layer; None for a linear head.
        epochs: number of training epochs; 0 for a solver without epochs.
        tail: weights of the tail that computes the `last` view of this head; None for the backbone's own.
        note: how the head was fitted, for people; may be empty.
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
