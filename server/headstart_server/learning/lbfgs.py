"""Limited-memory BFGS (Liu and Nocedal 1989) for smooth convex losses, to be stopped at any step."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from headstart_server.learning.rows import Float64

#: Pairs of steps and changes of the gradient that stand for the curvature.
_MEMORY = 10
#: Part of the fall promised by the gradient that a step must keep (Armijo).
_ENOUGH = 1e-4
_HALVINGS = 30


class StopReason(StrEnum):
    """Why a solver ended.

    CONVERGED: the gradient is as small as asked for, or rounding allows no further fall.
    STEPS: the number of steps is used up.
    TIME: the time is.
    """

    CONVERGED = "converged"
    STEPS = "steps"
    TIME = "time"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Minimum:
    """Where a solver ended.

    Attributes:
        point: the lowest point it met.
        loss: the loss there.
        reason: why it ended.
    """

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
    """Go downhill.

    Args:
        evaluate: gives the loss at a point and its gradient.
        start: where to begin; a vector.
        tolerance: largest part of the gradient at which to end.
        max_steps: most steps.
        is_late: asked before each step, whether the time is used up.
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
    """The way downhill that the curvature met so far suggests (two-loop recursion)."""
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
