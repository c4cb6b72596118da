"""One page of metrics of several processes."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from headstart_server.observability import metrics
from headstart_server.observability.telemetry import Telemetry
from headstart_server.processes.merged_metrics import MergedMetrics, MetricsRequest, Page, merged


def values(page: list) -> dict:
    registry = CollectorRegistry()
    registry.register(Page(lambda: page))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
        # This process itself goes on.
        if not sample.name.startswith("process_")
    }


def telemetry(predicted: int, seconds: float) -> Telemetry:
    made = Telemetry("1.0")
    made.predicted({"head": seconds}, {("pets", 1): predicted})
    made.serving_started(seconds)
    return made


def families(made: Telemetry) -> list:
    return list(made.registry.collect())


def test_counts_are_added_and_gauges_follow_their_rule():
    first, second = telemetry(3, 0.5), telemetry(4, 1.5)
    for made, available, bytes_ in ((first, 1.0, 10.0), (second, 0.0, 5.0)):
        made.read(metrics.DATABASE_AVAILABLE, lambda available=available: available)
        made.read(metrics.MEMORY, lambda bytes_=bytes_: {"version_cache": bytes_})
        made.read(metrics.ENERGY, lambda bytes_=bytes_: {"cpu_time": bytes_})
    first.prediction_drift_measured("pets", 1, 0.1, -0.3)
    second.prediction_drift_measured("pets", 1, 0.2, 0.1)
    page = values(merged([families(first), families(second)]))

    assert page["headstart_predictions_total", "1", "pets"] == 7
    assert page["headstart_predict_stage_duration_seconds_count", "head"] == 2
    assert page["headstart_predict_stage_duration_seconds_sum", "head"] == 2.0
    assert page["headstart_predict_stage_duration_seconds_bucket", "1.0", "head"] == 1
    assert page["headstart_energy_joules_total", "cpu_time"] == 15
    assert page["headstart_memory_bytes", "version_cache"] == 15
    assert page["headstart_startup_seconds",] == 1.5
    assert page["headstart_database_available",] == 0
    assert page["headstart_build_info", "1.0"] == 1
    assert page["headstart_prediction_drift_psi", "1", "pets"] == 0.2
    assert page["headstart_confidence_drift", "1", "pets"] == -0.3


def test_series_of_one_process_only_are_on_the_page():
    first, second = telemetry(3, 0.5), Telemetry("1.0")
    second.predicted({}, {("cars", 2): 1})
    page = values(merged([families(first), families(second)]))
    assert (
        page["headstart_predictions_total", "1", "pets"],
        page["headstart_predictions_total", "2", "cars"],
    ) == (
        3,
        1,
    )


def test_counts_of_a_process_that_ended_stay_and_its_gauges_go():
    both, ended = MergedMetrics(), telemetry(3, 9.0)
    both.end(families(ended))
    both.end(families(telemetry(2, 8.0)))
    page = values(both.page([families(telemetry(4, 0.5))], is_serving=True))
    assert page["headstart_predictions_total", "1", "pets"] == 9
    assert page["headstart_predict_stage_duration_seconds_count", "head"] == 3
    assert page["headstart_startup_seconds",] == 0.5
    # A scrape changes nothing.
    assert values(both.page([families(telemetry(4, 0.5))], is_serving=True)) == page


def test_a_server_whose_engine_starts_again_is_starting_however_long_the_other_processes_serve():
    serving, starting = families(telemetry(3, 7.0)), families(Telemetry("1.0"))
    for processes in ([starting, serving], [[], serving], []):
        page = values(MergedMetrics().page(processes, is_serving=False))
        assert page["headstart_startup_seconds",] == 0
    page = values(MergedMetrics().page([serving, serving], is_serving=True))
    assert page["headstart_startup_seconds",] == 7.0


def test_every_gauge_has_a_rule_that_suits_it():
    rules = {metric.name: metric.merge for metric in metrics.METRICS if metric.kind is metrics.Kind.GAUGE}
    assert rules["headstart_queue_depth"] is metrics.Merge.SUM
    assert rules["headstart_jobs"] is metrics.Merge.MAX
    assert rules["headstart_storage_available"] is metrics.Merge.MIN


def test_a_process_that_does_not_answer_gets_one_request():
    request, sent = MetricsRequest(), []
    answers = [request.begin(lambda: sent.append("collect")) for _ in range(100)]
    assert sent == ["collect"]
    found = families(telemetry(3, 0.5))
    request.answer(found)
    assert all(answer.result(0) is found for answer in answers)
    request.begin(lambda: sent.append("collect"))
    request.cancel()
    request.answer(found)
    assert request.begin(lambda: sent.append("collect")).done() is False
    assert sent == ["collect"] * 3
