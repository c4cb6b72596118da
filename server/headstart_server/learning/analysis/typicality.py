"""Typicality: how similar an input is to the training examples of a head."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.learning.analysis.references import References, build_references
from headstart_server.learning.features.feature_matrix import BLOCK, Float32, Float64
from headstart_server.learning.features.result_cache import feature_key

#: Maximum number of references, and of stored distances. More hardly improve typicality and enlarge versions.
REFERENCES = 2048
#: Minimum number of groups, and of distances: three distances have no tail.
_FEWEST = 4
#: Lower bounds: with zero or equal distances the tail would fall without bound.
_LEAST_DISTANCE, _LEAST_SLOPE = 1e-6, 0.02


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TypicalityModel:
    """The training features that a version stores to compute the typicality of an input.

    The score of an input is its distance from the nearest training example (k-nearest neighbors, Sun et al.
    2022, here with k = 1), its typicality a conformal p-value (Vovk, Gammerman and Shafer 2005; for unknown
    inputs Bates et al. 2023): the fraction of training examples that are at least as far from their nearest
    others. An input like the training examples has a typicality below a rate in at most that fraction of
    cases. Beyond the farthest example the fraction is extrapolated along the tail of the distances (Hill
    1975; Weissman 1978), so that fewer than 19 examples suffice for 5 %.
    """

    references: References
    # distances of training examples from the nearest reference of another group, ascending, [K]
    distances: Float32

    @property
    def views(self) -> tuple[str, ...]:
        """The backbone's views that inputs are compared by."""
        return self.references.views

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.references.nbytes + self.distances.nbytes

    @property
    def work(self) -> int:
        """Multiplications for one input, without its projection."""
        return self.references.work

    def typicality(self, views: Mapping[str, Float32]) -> Float32:
        """Return the typicality [n], above 0, at most 1, of inputs from features by view."""
        far = self.references.nearest(self.references.prepared(views)).astype(np.float64)
        count = len(self.distances)
        # A stored model may have no tail: then every input is typical, as without a model.
        if count < 2:
            return np.ones_like(far, np.float32)
        as_far = count - np.searchsorted(self.distances, far, side="left")
        share = (1 + as_far) / (count + 1)
        return np.where(as_far == 0, share * self._beyond(far), share).astype(np.float32)

    def _beyond(self, far: Float64) -> Float64:
        """Return the fraction of inputs beyond the farthest example that are at least as far, [n].

        Hill's estimate is the mean excess of the logarithms of the far distances. A few distances estimate it
        poorly; the predictive distribution accounts for that (a gamma prior on its inverse gives a Lomax
        distribution).
        """
        count = len(self.distances)
        few = min(max(2, ceil(sqrt(count))), count - 1)
        tail = np.log(np.maximum(self.distances[-few - 1 :].astype(np.float64), _LEAST_DISTANCE))
        slope = max(float((tail[1:] - tail[0]).mean()), _LEAST_SLOPE)
        excess = np.maximum(np.log(np.maximum(far, _LEAST_DISTANCE)) - tail[-1], 0.0)
        shares: Float64 = (1 + excess / (few * slope)) ** -few
        return shares


def fit_typicality_model(
    views: Mapping[str, Float32],
    names: Sequence[str],
    digests: Sequence[str],
    groups: Sequence[str],
    *,
    modality: Modality = Modality.IMAGE,
    checkpoint: Callable[[], None] = lambda: None,
) -> TypicalityModel | None:
    """Return the model of N training examples in any order; None if too few sampled ones differ.

    `views` has features [N, D of the view] by view, `names` the views to compare by. The order of the content
    digests samples many examples; `groups` name equal or nearly equal ones. Feature rows are compared by
    magnitude, other inputs by direction. `checkpoint` is called between blocks and may raise to stop.
    """
    _, group = np.unique(np.array(groups), return_inverse=True)
    if group.max() + 1 < _FEWEST:
        return None
    order = np.array(sorted(range(len(digests)), key=digests.__getitem__), np.int64)
    kept, measured = order[:REFERENCES], order[-REFERENCES:]
    references = build_references(views, names, kept, modality, checkpoint)

    def own(part: slice) -> np.ndarray:
        return np.asarray(group[measured[part], None] == group[None, kept])

    parts = []
    for start in range(0, len(measured), BLOCK):
        checkpoint()
        parts.append(references.prepared(views, measured[start : start + BLOCK]))
    key = feature_key([views[name] for name in names], "typicality", modality, order)
    nearest = references.nearest(np.concatenate(parts), own, checkpoint, key)
    # A sampled example has no distance if all sampled references are of its group.
    distances = np.sort(nearest[np.isfinite(nearest)])
    if len(distances) < _FEWEST:
        return None
    return TypicalityModel(references=references, distances=distances)
