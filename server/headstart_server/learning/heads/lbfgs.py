"""Limited-memory BFGS (Liu and Nocedal 1989) for smooth convex losses, which can stop at any step."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from headstart_server.learning.features.feature_matrix import Float64

#: Maximum stored pairs of steps and gradient changes.
_MEMORY = 10
#: Fraction of the decrease predicted by the gradient that a step must achieve (Armijo).
_ENOUGH = 1e-4
_HALVINGS = 30


class StopReason(StrEnum):
    """The reason that a solver ended.

    CONVERGED: the gradient is below the tolerance, or rounding allows no further descent.
    STEPS: the maximum number of steps is reached.
    TIME: the time budget is used up.
    """

    CONVERGED = "converged"
    STEPS = "steps"
    TIME = "time"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Minimum:
    """The end point of a solver."""

    point: Float64
    loss: float
    reason: StopReason


def minimize(
    evaluate: Callable[[Float64], tuple[float, Float64]],
    start: Float64,
    *,
    tolerance: float,
    max_steps: int,
    is_late: Callable[[], bool] = lambda: False,
) -> Minimum:
    """Minimize a function, of which `evaluate` returns the loss at a point and its gradient.

    The search ends when the largest component of the gradient is at most `tolerance`, after `max_steps`, or
    when `is_late` returns True before a step.
    """
    point, (loss, slope) = start, evaluate(start)
    pairs: deque[tuple[Float64, Float64]] = deque(maxlen=_MEMORY)
    for _ in range(max_steps):
        if np.abs(slope).max() <= tolerance:
            return Minimum(point=point, loss=loss, reason=StopReason.CONVERGED)
        if is_late():
            return Minimum(point=point, loss=loss, reason=StopReason.TIME)
        direction = _direction(slope, pairs)
        size, promised = 1.0, float(slope @ direction)
        for _ in range(_HALVINGS):
            moved = point + size * direction
            moved_loss, moved_slope = evaluate(moved)
            if moved_loss <= loss + _ENOUGH * size * promised:
                break
            size /= 2
        else:
            return Minimum(point=point, loss=loss, reason=StopReason.CONVERGED)
        step, change = moved - point, moved_slope - slope
        if step @ change > np.finfo(np.float64).eps * (change @ change):
            pairs.append((step, change))
        point, loss, slope = moved, moved_loss, moved_slope
    return Minimum(point=point, loss=loss, reason=StopReason.STEPS)


def _direction(slope: Float64, pairs: deque[tuple[Float64, Float64]]) -> Float64:
    """Return the descent direction from the curvature found so far (two-loop recursion)."""
    if not pairs:
        first: Float64 = -slope / max(float(np.linalg.norm(slope)), 1.0)
        return first
    direction = -slope
    shares = []
    for step, change in reversed(pairs):
        share = (step @ direction) / (step @ change)
        shares.append(share)
        direction = direction - share * change
    step, change = pairs[-1]
    direction = direction * ((step @ change) / (change @ change))
    for (step, change), share in zip(pairs, reversed(shares), strict=True):
        direction = direction + (share - (change @ direction) / (step @ change)) * step
    return direction
