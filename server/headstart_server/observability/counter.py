"""Counters that increment in half a microsecond: each Predict increments several in the event loop."""

import threading
from collections.abc import Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily

from headstart_server.observability.labeled_metric import LabeledMetric


class CounterSeries:
    """One series of a counter. Thread-safe."""

    __slots__ = ("_lock", "_value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Add an amount, 0 or more."""
        with self._lock:
            self._value += amount

    @property
    def value(self) -> float:
        """The sum of all amounts."""
        return self._value


class Counter(LabeledMetric[CounterSeries]):
    """A counter by labels, as `prometheus_client.Counter`.

    Args:
        name: its name.
        documentation: its meaning, in one sentence.
        labels: the names of its labels.
        registry: the registry that scrapes it.
    """

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], *, registry: CollectorRegistry
    ) -> None:
        self._name, self._documentation = name, documentation
        super().__init__(name, labels, registry)

    def collect(self) -> list[CounterMetricFamily]:
        """Return all series, for a scrape."""
        family = self.describe()[0]
        for values, series in self.all_series():
            family.add_metric(values, series.value)
        return [family]

    def describe(self) -> list[CounterMetricFamily]:
        """Return the metric without series."""
        return [CounterMetricFamily(self._name, self._documentation, labels=self.label_names)]

    def create(self) -> CounterSeries:
        """Return a series at 0."""
        return CounterSeries()
