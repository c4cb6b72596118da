"""Histograms that observe in a microsecond: each Predict makes several observations in the event loop."""

import math
import threading
import time
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import Exemplar, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from headstart_server.lru import LruCache
from headstart_server.observability.labeled_metric import LabeledMetric

#: Maximum models and versions with separate time series; the others share the name `other`.
MAX_SERIES = 200
#: Maximum canary versions of these; the series of other versions never displace them.
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
        idle_seconds: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._lock = threading.Lock()
        # Least recently used first; each with the time of its last use.
        self._used: OrderedDict[Labels, float] = OrderedDict()
        self._canaries: LruCache[Labels, bool] = LruCache(MAX_CANARIES)
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


#: Observations that are collected before they are counted.
_GROUP = 256


class HistogramSeries:
    """One series of a histogram. Thread-safe: it collects observations, and counts them in groups.

    Args:
        bounds: upper bounds of the buckets, ascending; the last one is infinite.
    """

    __slots__ = ("_bounds", "_counts", "_exemplars", "_lock", "_pending", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * len(bounds)
        self._exemplars: dict[int, Exemplar] = {}
        self._lock = threading.Lock()
        #: A deque, because threads may append to it while another one counts.
        self._pending: deque[float] = deque()
        self._sum = 0.0

    def observe(self, amount: float, exemplar: Mapping[str, str] | None = None) -> None:
        """Count an amount; the exemplar has labels that point to its trace."""
        self._pending.append(amount)
        if exemplar is not None:
            found = Exemplar(dict(exemplar), amount, time.time())
            with self._lock:
                self._exemplars[bisect_left(self._bounds, amount)] = found
        if len(self._pending) >= _GROUP:
            with self._lock:
                self._count_pending()

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add the buckets, the count and the sum to a scrape."""
        with self._lock:
            self._count_pending()
            counts, total, exemplars = list(self._counts), self._sum, dict(self._exemplars)
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        count = 0.0
        for place, (bound, found) in enumerate(zip(self._bounds, counts, strict=True)):
            count += found
            exemplar = exemplars.get(place)
            name: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
            buckets.append((name, count) if exemplar is None else (name, count, exemplar))
        family.add_metric(labels, buckets, total)

    def _count_pending(self) -> None:
        for _ in range(len(self._pending)):
            amount = self._pending.popleft()
            self._counts[bisect_left(self._bounds, amount)] += 1
            self._sum += amount


class Histogram(LabeledMetric[HistogramSeries]):
    """A histogram by labels, as `prometheus_client.Histogram`.

    Args:
        name: its name.
        documentation: its meaning, in one sentence.
        labels: the names of its labels.
        buckets: upper bounds of its buckets, ascending.
        registry: the registry that scrapes it.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._documentation = name, documentation
        self._bounds = (*buckets, math.inf)
        super().__init__(name, labels, registry)

    def collect(self) -> list[HistogramMetricFamily]:
        """Return all series, for a scrape."""
        family = self.describe()[0]
        for values, series in self.all_series():
            series.add_to(family, values)
        return [family]

    def describe(self) -> list[HistogramMetricFamily]:
        """Return the metric without series."""
        return [HistogramMetricFamily(self._name, self._documentation, labels=self.label_names)]

    def create(self) -> HistogramSeries:
        """Return a series without observations."""
        return HistogramSeries(self._bounds)
