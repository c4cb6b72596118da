"""A metric with a series for each combination of the values of its labels."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

Series = TypeVar("Series")


class LabeledMetric(Collector, ABC, Generic[Series]):
    """The series of a metric, found by label values as in `prometheus_client`.

    Args:
        name: the name of the metric.
        labels: the names of its labels.
        registry: the registry that scrapes it.
    """

    def __init__(self, name: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._metric = name
        self.label_names = tuple(labels)
        self._lock = threading.Lock()
        self._series: dict[tuple[str, ...], Series] = {}
        registry.register(self)

    @abstractmethod
    def create(self) -> Series:
        """Return a new series."""

    def labels(self, *values: object) -> Series:
        """Return the series of some label values; raise ValueError for another number than of labels."""
        key = tuple(map(str, values))
        if len(key) != len(self.label_names):
            expected = ", ".join(self.label_names)
            raise ValueError(f"{self._metric} needs a value for each of its labels: {expected}.")
        with self._lock:
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = self.create()
            return series

    def remove(self, *values: object) -> None:
        """Remove the series of some label values."""
        with self._lock:
            self._series.pop(tuple(map(str, values)), None)

    def all_series(self) -> list[tuple[tuple[str, ...], Series]]:
        """Return the series with their label values."""
        with self._lock:
            return list(self._series.items())
