"""One page of metrics for all processes of a server."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from headstart_server.observability.metrics import METRICS, STARTUP, Merge

#: Rules for merging the metrics of processes themselves; others are added.
_OF_PROCESSES = {"process_start_time_seconds": Merge.MIN, "process_max_fds": Merge.MIN}
_RULES = {metric.name.removesuffix("_total"): metric.merge for metric in METRICS} | _OF_PROCESSES

_Key = tuple[str, tuple[tuple[str, str], ...]]


class MergedMetrics:
    """Merges the metrics of processes, and keeps the counts of those that ended."""

    def __init__(self) -> None:
        self._ended: list[Family] = []

    def end(self, last: Iterable[Family]) -> None:
        """Keep the counts of an ended process, because the page's counters must never fall."""
        counts = [family for family in last if family.type in ("counter", "histogram")]
        self._ended = merged([self._ended, counts])

    def page(self, processes: Sequence[Iterable[Family]], *, is_serving: bool) -> list[Family]:
        """Return the metrics of all processes, including ended ones; the server starts until all serve."""
        page = merged([*processes, self._ended])
        if is_serving:
            return page
        return [*(family for family in page if family.name != STARTUP.name), STARTUP.family(lambda: 0.0)]


class MetricsRequest:
    """The request for the metrics of one process. Safe to use from many threads.

    Scrapes share a request that is not answered yet, so that requests never fill the connection to a process
    that does not read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answer: Future[list[Family]] | None = None

    def begin(self, send: Callable[[], None]) -> "Future[list[Family]]":
        """Return the answer to come; call `send` unless a request is waiting for its answer."""
        with self._lock:
            if self._answer is not None:
                return self._answer
            answer = self._answer = Future()
        send()
        return answer

    def answer(self, families: list[Family]) -> None:
        """End the request with the metrics that the process sent."""
        with self._lock:
            answer, self._answer = self._answer, None
        if answer is not None:
            answer.set_result(families)

    def cancel(self) -> None:
        """End the request without metrics, because the process ended."""
        with self._lock:
            answer, self._answer = self._answer, None
        if answer is not None:
            answer.cancel()


def merged(processes: Iterable[Iterable[Family]]) -> list[Family]:
    """Merge the metrics of processes: counts are added, gauges by the rule of their declaration."""
    families: dict[str, Family] = {}
    values: dict[str, dict[_Key, Sample]] = {}
    for process in processes:
        for family in process:
            if family.name not in families:
                families[family.name] = Family(family.name, family.documentation, family.type, family.unit)
                values[family.name] = {}
            rule = _RULES.get(family.name, Merge.SUM)
            known = values[family.name]
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                before = known.get(key)
                known[key] = sample if before is None else _merged(before, sample, rule)
    for name, family in families.items():
        family.samples = list(values[name].values())
    return list(families.values())


def _merged(one: Sample, other: Sample, rule: Merge) -> Sample:
    value = {
        Merge.SUM: lambda: one.value + other.value,
        Merge.MAX: lambda: max(one.value, other.value),
        Merge.MIN: lambda: min(one.value, other.value),
        Merge.LARGEST: lambda: max(one.value, other.value, key=abs),
    }[rule]()
    return one._replace(value=value, exemplar=one.exemplar or other.exemplar)


class Page(Collector):
    """Adds a page to a registry.

    Args:
        read: returns the metrics.
    """

    def __init__(self, read: Callable[[], list[Family]]) -> None:
        self._read = read

    def collect(self) -> list[Family]:
        """Return the page."""
        return self._read()

    def describe(self) -> list[Family]:
        """Return nothing: registering must not collect, because no process runs yet."""
        return []
