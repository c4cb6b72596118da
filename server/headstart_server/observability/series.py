"""Time series of models and versions, bounded in number."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from headstart_server.lru import LruCache

#: Models and versions with separate time series; further ones share the name `other`.
MAX_SERIES = 200
#: Versions of these that are canaries, whose series exist whatever others do.
MAX_CANARIES = 50
#: Seconds without use after which another series may replace a series: several scrapes.
IDLE_SECONDS = 120.0

#: A model and a version; the version is empty in metrics of a model.
Labels = tuple[str, str]
OTHER = "other"


class BoundedSeries:
    """Find the time series of a version, and remove unused ones. Thread-safe."""

    def __init__(
        self,
        most: int = MAX_SERIES,
        *,
        most_canaries: int = MAX_CANARIES,
        idle_seconds: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._lock = threading.Lock()
        # From the one unused for longest; each with the time of its last use.
        self._used: OrderedDict[Labels, float] = OrderedDict()
        self._canaries: LruCache[Labels, bool] = LruCache(most_canaries)
        # Finding a series by its labels takes longer than counting.
        self._series: dict[Labels, dict[tuple[Any, tuple[str, ...]], Any]] = {}

    def series(self, metric: Any, model: str, version: int | None = None, *further: str) -> Any:
        """Return the series of a metric with the label `model`, then `version` if one is given."""
        with self._lock:
            labels = self._admitted((model, "" if version is None else str(version)))
            return self._found(metric, labels, version is not None, further)

    def canary_series(self, metric: Any, model: str, version: int, *further: str) -> Any:
        """Return the series of a metric for a version with a fraction of an alias's traffic."""
        labels = (model, str(version))
        with self._lock:
            for oldest, _ in self._canaries.add(labels, True):
                if oldest not in self._used:
                    self._remove(oldest)
            return self._found(metric, labels, True, further)

    def _admitted(self, labels: Labels) -> Labels:
        """Return the labels, or the labels of all others if the number of series is at its limit."""
        if labels not in self._used:
            if labels in self._canaries:
                return labels
            if len(self._used) >= self._most:
                oldest, used = next(iter(self._used.items()))
                if self._clock() - used < self._idle_seconds:
                    return OTHER, OTHER if labels[1] else ""
                del self._used[oldest]
                if oldest not in self._canaries:
                    self._remove(oldest)
        self._used[labels] = self._clock()
        self._used.move_to_end(labels)
        return labels

    def _found(self, metric: Any, labels: Labels, has_version: bool, further: tuple[str, ...]) -> Any:
        known = self._series.setdefault(labels, {})
        values = (*(labels if has_version else labels[:1]), *further)
        series = known.get((metric, values))
        if series is None:
            series = known[metric, values] = metric.labels(*values)
        return series

    def _remove(self, labels: Labels) -> None:
        for metric, values in self._series.pop(labels, {}):
            metric.remove(*values)
