"""Whether an input is like the examples that a head was trained on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from headstart_server.backbones.backbone import Modality
from headstart_server.learning.references import References, build_references
from headstart_server.learning.rows import BLOCK, Float32, Float64

#: Examples that inputs are compared with, and examples whose own distances are kept. More of them say little
#: more, and a version has to stay small.
REFERENCES = 2048
#: Groups of examples below which nothing is told: there is no tail of three distances.
_FEWEST = 4
#: Distances that are zero or equal would make the tail fall without measure.
_LEAST_DISTANCE, _LEAST_SLOPE = 1e-6, 0.02


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TypicalityModel:
    """What a version keeps of its training features, to tell how typical an input is.

    The score of an input is its distance from the nearest training example (k-nearest neighbours, Sun et al.
    2022, here with k = 1), its typicality a conformal p-value (Vovk, Gammerman and Shafer 2005; for unknown
    inputs Bates et al. 2023): the share of training examples that lie at least as far from their nearest
    others. An input like the training examples has a typicality below a rate in at most that share of cases.
    Beyond the farthest example the share is extrapolated along the tail of the distances (Hill 1975; Weissman
    1978), so that 19 examples are not needed to speak of 5 %.

    Attributes:
        references: training examples, at most `REFERENCES`.
        distances: of training examples from the nearest reference that is not their own nor all but the same,
            ascending, [K].
    """

    references: References
    distances: Float32

    @property
    def views(self) -> tuple[str, ...]:
        """The backbone's views that inputs are compared by."""
        return self.references.views

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return self.references.nbytes + self.distances.nbytes

    @property
    def work(self) -> int:
        """Multiplications for one input, its projection aside."""
        return self.references.work

    def typicality(self, views: Mapping[str, Float32]) -> Float32:
        """How typical inputs are, from their features [n, D of the view] by view: [n], above 0, at most 1."""
        far = self.references.nearest(self.references.prepared(views)).astype(np.float64)
        count = len(self.distances)
        as_far = count - np.searchsorted(self.distances, far, side="left")
        share = (1 + as_far) / (count + 1)
        return np.where(as_far == 0, share * self._beyond(far), share).astype(np.float32)

    def _beyond(self, far: Float64) -> Float64:
        """The part of the inputs beyond the farthest example that lies at least as far, [n].

        Hill's estimate is by how much, in logarithms, the far distances exceed the one they begin at. From
        few of them it is not known well; the predictive distribution takes that in (a gamma prior on its
        inverse gives a Lomax distribution).
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
    """What to keep of the features of N training examples; the order of the examples does not matter.

    Args:
        views: features [N, D of the view] by view.
        names: the views to compare by.
        digests: content digest of each, [N]; their order is as good as random, and chooses among many.
        groups: names what is the same or all but the same, [N].
        modality: the kind of input: feature rows are compared by their magnitude, others by direction.
        checkpoint: called between blocks; may raise to stop.

    Returns:
        None where there are too few examples that differ.
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
    distances = references.nearest(np.concatenate(parts), own, checkpoint)
    return TypicalityModel(references=references, distances=np.sort(distances[np.isfinite(distances)]))
