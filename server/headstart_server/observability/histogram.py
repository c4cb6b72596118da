"""Histograms that take a microsecond for an observation: each Predict makes several in the event loop."""

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import Exemplar, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class HistogramSeries:
    """One series of a histogram. Thread-safe.

    Args:
        bounds: upper bounds of the buckets, ascending; the last one is infinite.
    """

    __slots__ = ("_bounds", "_counts", "_exemplars", "_lock", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * len(bounds)
        self._exemplars: dict[int, Exemplar] = {}
        self._lock = threading.Lock()
        self._sum = 0.0

    def observe(self, amount: float, exemplar: Mapping[str, str] | None = None) -> None:
        """Count an amount; the exemplar has labels that point to its trace."""
        place = bisect_left(self._bounds, amount)
        with self._lock:
            self._counts[place] += 1
            self._sum += amount
            if exemplar is not None:
                self._exemplars[place] = Exemplar(dict(exemplar), amount, time.time())

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add the buckets, the count and the sum to a scrape."""
        with self._lock:
            counts, total, exemplars = list(self._counts), self._sum, dict(self._exemplars)
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        count = 0.0
        for place, (bound, found) in enumerate(zip(self._bounds, counts, strict=True)):
            count += found
            exemplar = exemplars.get(place)
            name: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
            buckets.append((name, count) if exemplar is None else (name, count, exemplar))
        family.add_metric(labels, buckets, total)


class Histogram(Collector):
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
        self._name, self._documentation, self._labels = name, documentation, tuple(labels)
        self._bounds = (*buckets, math.inf)
        self._lock = threading.Lock()
        self._series: dict[tuple[str, ...], HistogramSeries] = {}
        registry.register(self)

    def labels(self, *values: object) -> HistogramSeries:
        """Return the series of some label values; raise ValueError for another number than of labels."""
        key = tuple(map(str, values))
        if len(key) != len(self._labels):
            raise ValueError(f"{self._name} needs a value for each of its labels: {', '.join(self._labels)}.")
        with self._lock:
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = HistogramSeries(self._bounds)
            return series

    def remove(self, *values: object) -> None:
        """Remove the series of some label values."""
        with self._lock:
            self._series.pop(tuple(map(str, values)), None)

    def collect(self) -> list[HistogramMetricFamily]:
        """Return all series, for a scrape."""
        family = self.describe()[0]
        with self._lock:
            found = list(self._series.items())
        for values, series in found:
            series.add_to(family, values)
        return [family]

    def describe(self) -> list[HistogramMetricFamily]:
        """Return the metric without series."""
        return [HistogramMetricFamily(self._name, self._documentation, labels=self._labels)]
