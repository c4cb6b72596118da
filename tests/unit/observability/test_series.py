"""Time series of models: bounded in number, for those in use, and always for canaries."""

import threading
from collections.abc import Iterator

import pytest

from fakes import ManualClock
from headstart_server.learning.metrics.metrics import Metrics
from headstart_server.observability.histogram import IDLE_SECONDS, MAX_CANARIES, MAX_SERIES, BoundedSeries
from headstart_server.observability.telemetry import Telemetry


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def telemetry(clock: ManualClock) -> Telemetry:
    return Telemetry("test", BoundedSeries(clock=clock))


def labelled(telemetry: Telemetry, metric: str) -> Iterator[tuple[str, str]]:
    for family in telemetry.registry.collect():
        for sample in family.samples:
            if sample.name == metric:
                yield sample.labels["model"], sample.labels.get("version", "")


def predict(telemetry: Telemetry, model: str, version: int = 1) -> None:
    telemetry.predicted({}, {(model, version): 1})


def predicted(telemetry: Telemetry) -> set[tuple[str, str]]:
    return set(labelled(telemetry, "headstart_predictions_total"))


def value(telemetry: Telemetry, model: str, version: str) -> float | None:
    labels = {"model": model, "version": version}
    return telemetry.registry.get_sample_value("headstart_predictions_total", labels)


def test_a_model_that_comes_late_gets_the_place_of_one_that_is_no_longer_used(
    telemetry: Telemetry, clock: ManualClock
) -> None:
    for place in range(MAX_SERIES):
        predict(telemetry, f"early-{place}")
    clock.advance(IDLE_SECONDS)
    predict(telemetry, "early-0")
    predict(telemetry, "late")
    found = predicted(telemetry)
    assert {("late", "1"), ("early-0", "1")} <= found
    assert ("early-1", "1") not in found
    assert ("other", "other") not in found
    assert len(found) == MAX_SERIES


def test_models_that_are_in_use_keep_their_series_and_further_ones_share_one(telemetry: Telemetry) -> None:
    for place in range(MAX_SERIES + 5):
        predict(telemetry, f"model-{place}")
    assert value(telemetry, "model-0", "1") == 1.0
    assert value(telemetry, "other", "other") == 5.0
    assert len(predicted(telemetry)) == MAX_SERIES + 1


def test_a_series_that_was_removed_begins_again(telemetry: Telemetry, clock: ManualClock) -> None:
    predict(telemetry, "early")
    for place in range(MAX_SERIES):
        clock.advance(IDLE_SECONDS)
        predict(telemetry, f"model-{place}")
    assert value(telemetry, "early", "1") is None
    clock.advance(IDLE_SECONDS)
    predict(telemetry, "early")
    assert value(telemetry, "early", "1") == 1.0


def test_a_canary_is_always_visible(telemetry: Telemetry) -> None:
    for place in range(MAX_SERIES):
        predict(telemetry, f"model-{place}")
    telemetry.canary_call_ended([("pets", 7)], "OK", 0.1)
    predict(telemetry, "pets", 7)
    assert ("pets", "7") in set(labelled(telemetry, "headstart_canary_requests_total"))
    assert value(telemetry, "pets", "7") == 1.0


def test_the_number_of_series_stays_bounded_whatever_comes(telemetry: Telemetry, clock: ManualClock) -> None:
    for place in range(3 * MAX_SERIES):
        clock.advance(IDLE_SECONDS / 50)
        model = f"model-{place}"
        predict(telemetry, model)
        telemetry.feature_drift_measured(model, 1, 0.5)
        telemetry.prediction_drift_measured(model, 1, 0.5, 0.1)
        telemetry.shadow_compared(model, 2, 1, 1)
        telemetry.version_published(model, 1, Metrics(accuracy=0.5, log_loss=0.5), 9)
        telemetry.canary_call_ended([(model, 3)], "OK", 0.1)
    most = MAX_SERIES + MAX_CANARIES + 1
    for metric in ("predictions_total", "feature_drift", "version_accuracy", "canary_requests_total"):
        found = list(labelled(telemetry, f"headstart_{metric}"))
        assert 0 < len(found) <= most
    # The newest of them are those that are seen.
    newest = f"model-{3 * MAX_SERIES - 1}"
    assert newest in {model for model, _ in labelled(telemetry, "headstart_canary_requests_total")}


def test_many_threads_count_at_once(clock: ManualClock) -> None:
    telemetry = Telemetry("test", BoundedSeries(4, idle_seconds=0.0, clock=clock))

    def count(thread: int) -> None:
        for place in range(300):
            predict(telemetry, f"model-{(thread * 7 + place) % 11}")

    threads = [threading.Thread(target=count, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(predicted(telemetry)) == 4
