"""Thresholds from which classes of several labels are predicted."""

import numpy as np

from headstart_server.learning.features.feature_matrix import Float64

#: Examples below which the threshold of a class is too noisy, so the common one is used.
OWN_FROM = 10
#: Default if nothing could be validated.
UNKNOWN = 0.5
_STEPS = 1000


def fit_thresholds(probabilities: Float64, targets: Float64, weights: Float64) -> Float64:
    """Return for each class the threshold of the highest F1 on out-of-fold probabilities, [C].

    It lies in the middle between two probabilities, so that rounding does not decide. A class with fewer than
    `OWN_FROM` examples gets the threshold of the highest F1 over all classes together. `probabilities` and
    `targets`, 1 where a class applies, are [n, C]; `weights` are [n].
    """
    having = targets.sum(axis=0)
    own = (having >= OWN_FROM) & (len(targets) - having >= OWN_FROM)
    together = UNKNOWN if own.all() else _together(probabilities, targets, weights)
    return np.array(
        [
            _best(probabilities[:, place], targets[:, place], weights) if own[place] else together
            for place in range(probabilities.shape[1])
        ]
    )


def _best(probabilities: Float64, targets: Float64, weights: Float64) -> float:
    order = np.argsort(-probabilities, kind="stable")
    falling = probabilities[order]
    # A threshold can only stand between two probabilities that differ.
    last = np.append(falling[1:] < falling[:-1], True)
    taken, right = np.cumsum(weights[order])[last], np.cumsum((weights * targets)[order])[last]
    place = int(np.argmax(2 * right / (taken + right[-1])))
    steps = np.append(falling[last], 0.0)
    return float(steps[place] + steps[place + 1]) / 2


def _together(probabilities: Float64, targets: Float64, weights: Float64) -> float:
    """Return the threshold of the highest F1 over all classes, one of `_STEPS`: sorting would need memory."""
    taken, right = np.zeros(_STEPS), np.zeros(_STEPS)
    for column, has in zip(probabilities.T, targets.T, strict=True):
        steps = np.minimum((column * _STEPS).astype(np.int64), _STEPS - 1)
        taken += np.bincount(steps, weights, minlength=_STEPS)
        right += np.bincount(steps, weights * has, minlength=_STEPS)
    taken, right = np.cumsum(taken[::-1])[::-1], np.cumsum(right[::-1])[::-1]
    if not right[0]:
        return UNKNOWN
    return float(np.argmax(2 * right / (taken + right[0]))) / _STEPS
