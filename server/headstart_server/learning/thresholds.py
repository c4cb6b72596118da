"""From which probability on a class is taken to apply."""

import numpy as np

from headstart_server.learning.rows import Float64

#: Examples that have a class below which its own threshold is too noisy: it takes the one of all together.
OWN_FROM = 10
#: Where nothing could be validated.
UNKNOWN = 0.5


def fit_thresholds(probabilities: Float64, targets: Float64, weights: Float64) -> Float64:
    """For each class the threshold of the highest F1 on out-of-fold probabilities, [C].

    It lies in the middle between two probabilities, so that rounding does not decide. Of a class that fewer
    than `OWN_FROM` examples have it is the one of the highest F1 over all classes together.

    Args:
        probabilities: out of fold, [n, C].
        targets: 1 where a class applies, [n, C].
        weights: of each example, [n].
    """
    classes = probabilities.shape[1]
    together = _best(
        probabilities.ravel(), targets.ravel(), np.repeat(weights, classes) if classes > 1 else weights
    )
    having = targets.sum(axis=0)
    own = (having >= OWN_FROM) & (len(targets) - having >= OWN_FROM)
    return np.array(
        [
            _best(probabilities[:, place], targets[:, place], weights) if own[place] else together
            for place in range(classes)
        ]
    )


def _best(probabilities: Float64, targets: Float64, weights: Float64) -> float:
    order = np.argsort(-probabilities, kind="stable")
    sorted_ = probabilities[order]
    having = weights * targets
    total = float(having.sum())
    if not total:
        return UNKNOWN
    taken = np.cumsum(weights[order])
    right = np.cumsum(having[order])
    scores = 2 * right / (taken + total)
    # A threshold can only stand between two probabilities that differ.
    last = np.append(sorted_[1:] < sorted_[:-1], True)
    place = int(np.argmax(np.where(last, scores, -1.0)))
    below = float(sorted_[place + 1]) if place + 1 < len(sorted_) else 0.0
    return (float(sorted_[place]) + below) / 2
