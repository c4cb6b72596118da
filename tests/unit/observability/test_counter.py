"""Counters in the exposition format, against those of prometheus_client."""

import threading

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Counter as Reference

from headstart_server.observability.counter import Counter


def page(kind: type[Counter] | type[Reference]) -> bytes:
    registry = CollectorRegistry()
    metric = kind("calls_total", "Calls.", ("method", "code"), registry=registry)
    metric.labels("Predict", 0).inc()
    metric.labels("Predict", 0).inc(2.5)
    metric.labels("Embed", 'a "quoted"\nvalue')
    return generate_latest(registry)


def test_a_scrape_is_that_of_prometheus_client() -> None:
    expected = [line for line in page(Reference).splitlines() if b"_created" not in line]
    assert page(Counter).splitlines() == expected


def test_increments_of_many_threads_are_all_counted() -> None:
    registry = CollectorRegistry()
    series = Counter("calls_total", "Calls.", ("method",), registry=registry).labels("Predict")

    def count() -> None:
        for _ in range(2000):
            series.inc()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.get_sample_value("calls_total", {"method": "Predict"}) == 8000


def test_a_removed_series_is_not_scraped_and_begins_again_at_zero() -> None:
    registry = CollectorRegistry()
    metric = Counter("calls_total", "Calls.", ("method",), registry=registry)
    metric.labels("Predict").inc()
    metric.remove("Predict")
    assert registry.get_sample_value("calls_total", {"method": "Predict"}) is None
    metric.labels("Predict")
    assert registry.get_sample_value("calls_total", {"method": "Predict"}) == 0


def test_a_series_needs_a_value_for_each_label() -> None:
    metric = Counter("calls_total", "Calls.", ("method", "code"), registry=CollectorRegistry())
    with pytest.raises(ValueError, match="needs a value for each of its labels: method, code"):
        metric.labels("Predict")
