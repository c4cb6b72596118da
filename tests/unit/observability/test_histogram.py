"""Histograms in the exposition format, against those of prometheus_client."""

import threading

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as Reference
from prometheus_client.openmetrics.exposition import generate_latest as generate_open_metrics

from headstart_server.observability.histogram import Histogram

AMOUNTS = (0.0, 0.5, 1.0, 1.0001, 2.0, 7.5, 1e9, -1.0)


def page(kind: type[Histogram] | type[Reference]) -> bytes:
    registry = CollectorRegistry()
    metric = kind("seconds", "Time.", ("stage", "part"), buckets=(1.0, 2.0, 5.0), registry=registry)
    for amount in AMOUNTS:
        metric.labels("decode", 1).observe(amount)
    metric.labels("head", 2)
    return generate_latest(registry)


def test_a_scrape_is_that_of_prometheus_client() -> None:
    expected = [line for line in page(Reference).splitlines() if b"_created" not in line]
    assert page(Histogram).splitlines() == expected


def test_an_exemplar_points_to_its_trace() -> None:
    registry = CollectorRegistry()
    series = Histogram("seconds", "Time.", ("stage",), buckets=(1.0,), registry=registry).labels("head")
    series.observe(0.25, {"trace_id": "a" * 32})
    text = generate_open_metrics(registry).decode()
    assert f'seconds_bucket{{le="1.0",stage="head"}} 1.0 # {{trace_id="{"a" * 32}"}} 0.25' in text


def test_observations_of_many_threads_are_all_counted() -> None:
    registry = CollectorRegistry()
    series = Histogram("seconds", "Time.", ("stage",), buckets=(1.0,), registry=registry).labels("head")

    def observe() -> None:
        for _ in range(2000):
            series.observe(0.5)

    threads = [threading.Thread(target=observe) for _ in range(4)]
    for thread in threads:
        thread.start()
    scraped = [0.0]
    while any(thread.is_alive() for thread in threads):
        scraped.append(registry.get_sample_value("seconds_count", {"stage": "head"}) or 0.0)
    for thread in threads:
        thread.join()
    assert scraped == sorted(scraped)
    assert registry.get_sample_value("seconds_count", {"stage": "head"}) == 8000
    assert registry.get_sample_value("seconds_sum", {"stage": "head"}) == 4000


def test_a_removed_series_is_not_scraped_and_begins_again_at_zero() -> None:
    registry = CollectorRegistry()
    metric = Histogram("seconds", "Time.", ("stage",), buckets=(1.0,), registry=registry)
    metric.labels("head").observe(0.5)
    metric.remove("head")
    assert registry.get_sample_value("seconds_count", {"stage": "head"}) is None
    metric.labels("head").observe(0.5)
    assert registry.get_sample_value("seconds_count", {"stage": "head"}) == 1


def test_each_label_needs_a_value() -> None:
    metric = Histogram("seconds", "Time.", ("stage",), buckets=(1.0,), registry=CollectorRegistry())
    with pytest.raises(ValueError, match="needs a value for each of its labels: stage"):
        metric.labels()
