"""Population stability index."""

import numpy as np

from headstart_server.learning.features.feature_matrix import Float64

#: Summand of each count, so that all are positive (Jeffreys 1946).
_PRIOR = 0.5


def population_stability_index(expected: Float64, recent: Float64) -> float:
    """Return the population stability index of recent counts [K] against expected ones [K].

    It is the sum of (p - q) ln(p / q) over K categories with proportions p and q: about 0 without drift. By
    the rule of thumb of credit scoring, 0.1 is little and 0.25 much (Siddiqi 2006). Its mean without drift,
    (K - 1) (1 / n + 1 / m) for n and m predictions (Yurdakul and Naranjo 2020), is subtracted.
    """
    kinds = len(expected)
    sizes = recent.sum(), expected.sum()
    now, before = (
        (counts + _PRIOR) / (size + kinds * _PRIOR)
        for counts, size in zip((recent, expected), sizes, strict=True)
    )
    index = float(((now - before) * np.log(now / before)).sum())
    return max(0.0, index - (kinds - 1) * sum(1 / float(size) for size in sizes))
