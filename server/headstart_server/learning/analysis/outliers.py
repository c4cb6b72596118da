"""Examples that are far from all others."""

from collections.abc import Sequence

import numpy as np

from headstart_server.learning.analysis.analyzed_dataset import AnalyzedDataset
from headstart_server.learning.analysis.dataset_findings import Outlier
from headstart_server.learning.analysis.familiarity import REFERENCES
from headstart_server.learning.analysis.references import build_references
from headstart_server.learning.features.feature_matrix import BLOCK

#: Reported outliers.
MAX_OUTLIERS = 100
#: Robust deviations of the logarithm at which a distance is an outlier (Iglewicz and Hoaglin 1993), and the
#: minimum ratio to the median: among very similar examples every difference is large.
_FAR, _LEAST_RATIO = 3.5, 1.5
_MAD = 1.4826
#: Minimum number of groups.
_FEWEST = 8


def find_outliers(examined: AnalyzedDataset, groups: Sequence[str]) -> tuple[list[Outlier], int]:
    """Return outliers, the farthest first, and their number.

    Near-duplicates, grouped by `groups` [N], do not count as neighbors of each other.
    """
    _, group = np.unique(np.array(groups), return_inverse=True)
    if group.max() + 1 < _FEWEST:
        return [], 0
    count, names = len(group), sorted(examined.views)
    kept = np.sort(np.array(sorted(range(count), key=examined.digests.__getitem__)[:REFERENCES], np.int64))
    references = build_references(examined.views, names, kept, examined.modality, examined.checkpoint)
    far = np.empty(count, np.float32)
    for start in range(0, count, BLOCK):
        part = slice(start, start + BLOCK)
        rows = references.prepared(examined.views, part)
        own = group[part, None] == group[None, kept]
        far[part] = references.nearest(rows, own.__getitem__, examined.checkpoint)
    ratios = far / max(float(np.median(far)), float(np.finfo(np.float32).tiny))
    logs = np.log(np.maximum(ratios, np.finfo(np.float32).tiny))
    deviation = _MAD * float(np.median(np.abs(logs - np.median(logs))))
    outlying = (ratios > _LEAST_RATIO) & (logs - np.median(logs) > _FAR * deviation)
    places = np.flatnonzero(outlying)
    places = places[np.argsort(-ratios[places], kind="stable")]
    listed = [
        Outlier(example=examined.reference(place), distance_ratio=float(ratios[place]))
        for place in places[:MAX_OUTLIERS].tolist()
    ]
    return listed, len(places)
