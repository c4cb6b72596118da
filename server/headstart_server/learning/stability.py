"""How far answers of a kind have moved from what was expected: the population stability index."""

import numpy as np

from headstart_server.learning.rows import Float64

#: What is added to each count, so that none is 0 (Jeffreys 1946).
_PRIOR = 0.5


def population_stability_index(expected: Float64, recent: Float64) -> float:
    """The population stability index of recent counts beside expected ones, less what chance alone gives.

    The sum of (p - q) ln(p / q) over the kinds, with p and q the shares of each: about 0 if nothing has
    moved; by the rule of thumb of credit scoring, where it comes from, 0.1 is little and 0.25 much (Siddiqi
    2006). Without any move its mean is (K - 1) (1 / n + 1 / m) for K kinds and n and m answers (Yurdakul and
    Naranjo 2020), which is taken off.

    Args:
        expected: how many answers of each of K kinds were expected by, [K].
        recent: how many there are now, [K]; need not be whole.
    """
    kinds = len(expected)
    sizes = recent.sum(), expected.sum()
    now, before = (
        (counts + _PRIOR) / (size + kinds * _PRIOR)
        for counts, size in zip((recent, expected), sizes, strict=True)
    )
    index = float(((now - before) * np.log(now / before)).sum())
    return max(0.0, index - (kinds - 1) * sum(1 / float(size) for size in sizes))
