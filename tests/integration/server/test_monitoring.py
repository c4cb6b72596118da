"""A server that is watched: a real Prometheus scrapes it, and a real receiver takes its traces.

One server for all of these tests, because they need what others do without: a receiver of traces, and an
hour's worth of figures of calls and jobs of all kinds.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from headstart.v1 import job_pb2, model_pb2, model_service_pb2
from integration.server.calls import Api, digit, digits, example, refused
from otlp import Receiver, receiving
from prometheus import PrometheusServer, dashboard_queries, rules
from server_process import ServerProcess, eventually, running

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACED = (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("authorization", "Bearer s3cr3t"))
#: Queries that give no series on a machine without a GPU.
EMPTY = {
    "headstart_gpu_utilization_ratio",
    "headstart_gpu_memory_used_bytes",
    "headstart_gpu_memory_size_bytes",
    "headstart:gpu_memory_used:ratio",
}
#: Seconds for Prometheus to have scraped often enough for its rates, on a machine that is busy.
PATIENCE = 60.0


@dataclass
class Watched:
    """A server, with who watches it."""

    server: ServerProcess
    api: Api
    receiver: Receiver
    prometheus: PrometheusServer
    job: job_pb2.Job


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    with receiving() as receiver:
        flags = (
            "--trace-endpoint",
            receiver.endpoint,
            "--grid-gco2-per-kwh",
            "100",
            "--monitor-sample-rate",
            "1",
        )
        with running(folder / "data", *flags) as server:
            server.wait_until_serving()
            home = folder / "prometheus"
            home.mkdir()
            prometheus = PrometheusServer(home, f"127.0.0.1:{server.metrics_port}")
            try:
                eventually(prometheus.is_ready, PATIENCE, "a Prometheus that answers")
                # Figures of a change need a sample from before it.
                eventually(lambda: prometheus.has("headstart_job_runs_total"), PATIENCE, "a scrape")
                with Api.connect(server.target) as api:
                    job = exercise(api)
                    yield Watched(server, api, receiver, prometheus, job)
            finally:
                prometheus.close()


def exercise(api: Api) -> job_pb2.Job:
    """Calls and jobs of all kinds, the ends that are bad among them; returns a job that went well."""
    api.published(digits((0, 1, 7), 8), model="digits", alias="shadow")
    job = api.published(digits((0, 1, 7), 8, start=8), model="digits")
    failing = [*digits((0, 1), 4), example(b"no image", "0")]
    failed = api.ended(api.fine_tune(failing, model="broken").job_id)
    assert failed.state == job_pb2.JOB_STATE_FAILED
    api.prediction.Predict(predict_request("digits"), metadata=TRACED)
    refused(lambda: api.predict("missing", digit(0, 30)))
    # As many inputs as drift is computed from.
    api.predict("digits", *(digit(label, place) for label in (0, 1, 7) for place in range(30, 42)))
    given = [model_pb2.TrafficSplit(version=job.version, fraction=0.5)]
    request = model_service_pb2.SetAliasRequest(model="digits", alias="stable", version=1, traffic=given)
    api.models.SetAlias(request)
    return job


def predict_request(model: str):
    from integration.server.calls import prediction_request

    return prediction_request(model, digit(0, 30))


# Prometheus


def figures() -> list[str]:
    """What rules and dashboard look at: of alerts the figures, without the bounds that they must pass."""
    alerts = [
        re.sub(r" (?:>|==) [\d.]+$", "", part)
        for rule in rules()
        if not rule["expr"].startswith("absent(")
        for part in re.split(r" and on \([\w, ]+\) ", rule["expr"])
    ]
    return list(dict.fromkeys([*alerts, *dashboard_queries()]))


def is_known_to_be_empty(expression: str) -> bool:
    return any(re.match(rf"{re.escape(name)}\b", expression) for name in EMPTY)


def test_every_figure_of_the_rules_and_the_dashboard_is_there(watched: Watched):
    awaited = {each for each in figures() if not is_known_to_be_empty(each)}
    missing = set(awaited)

    def all_there() -> bool:
        # Predicts go on, since some figures are of the last minutes.
        watched.api.predict("digits", digit(1, 30))
        watched.api.predict("digits", digit(1, 30), alias="stable")
        missing.difference_update([each for each in missing if watched.prometheus.has(each)])
        return not missing

    try:
        eventually(all_there, PATIENCE, "all figures")
    except AssertionError:
        raise AssertionError(f"No series for: {sorted(missing)}") from None
    assert len(awaited) > 30
    assert watched.prometheus.rule_errors() == []


def test_series_that_are_known_to_be_empty_are_queried_and_empty_here(watched: Watched):
    queried = " ".join(figures())
    assert all(name in queried for name in EMPTY)
    for expression in filter(is_known_to_be_empty, figures()):
        assert watched.prometheus.query(expression) == []


def test_the_figures_are_those_of_what_was_done(watched: Watched):
    def value(expression: str) -> float | None:
        found = watched.prometheus.query(expression)
        return float(found[0]["value"][1]) if found else None

    predict = 'grpc_service="headstart.v1.PredictionService",grpc_method="Predict",grpc_type="unary"'
    not_found = f'grpc_server_handled_total{{{predict},grpc_code="NOT_FOUND"}}'
    eventually(lambda: value(not_found) == 1, PATIENCE, "the refused call")
    assert value("headstart_job_takeovers_total") == 0
    assert value('headstart_job_runs_total{outcome="failed"}') == 1
    assert value('headstart_jobs{state="succeeded"}') == 2
    assert value("sum(headstart_energy_joules_total)") > 0


def test_a_traced_calls_latency_leads_to_its_trace(watched: Watched):
    def traces() -> set[str]:
        found = watched.prometheus.exemplars("grpc_server_handling_seconds_bucket")
        return {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}

    watched.api.prediction.Predict(predict_request("digits"), metadata=TRACED)
    eventually(lambda: TRACE in traces(), PATIENCE, "the exemplar of the traced call")


# Traces


def test_a_traced_predict_arrives_with_its_stages(watched: Watched):
    def arrived() -> bool:
        found = watched.receiver.named("headstart.v1.PredictionService/Predict")
        return any(span.trace_id.hex() == TRACE for span in found)

    eventually(arrived, PATIENCE, "the span of the call")
    span = next(each for each in watched.receiver.spans if each.parent_span_id.hex() == PARENT)
    assert span.trace_id.hex() == TRACE
    assert watched.receiver.children(span) == ["backbone", "decode", "head", "queue", "resolve"]
    assert watched.receiver.resources[0]["service.name"] == "headstart"


def test_a_job_arrives_with_its_steps_and_a_link_to_its_call(watched: Watched):
    def run():
        for span in watched.receiver.named("job"):
            attributes = {each.key: each.value.string_value for each in span.attributes}
            if attributes["headstart.job_id"] == watched.job.job_id:
                return span
        return None

    span = eventually(run, PATIENCE, "the span of the job")
    calls = watched.receiver.named("headstart.v1.FineTuningService/FineTune")
    assert watched.receiver.children(span) == ["evaluate", "features", "fit", "publish"]
    assert span.links[0].span_id in {call.span_id for call in calls}


def test_no_trace_has_a_secret_of_a_call_or_a_health_check(watched: Watched):
    spans = "".join(map(str, watched.receiver.spans))

    assert "s3cr3t" not in spans
    assert "authorization" not in spans
    assert "grpc.health" not in spans


# Energy


def test_a_fine_tune_reports_its_cost_and_where_it_is_estimated(watched: Watched):
    job = watched.api.status(watched.job.job_id)
    version = watched.api.version("digits", job.version)

    for energy in (job.energy, version.energy):
        assert energy.joules == pytest.approx(sum(energy.joules_by_source.values()))
        assert energy.joules > 0
        assert energy.gco2e == pytest.approx(energy.joules / 3.6e6 * 100)
        assert energy.estimated == ("cpu_time" in energy.joules_by_source)


# The end


def test_the_last_spans_are_sent_before_a_server_stops(tmp_path: Path):
    with receiving() as receiver, running(tmp_path / "data", "--trace-endpoint", receiver.endpoint) as server:
        server.wait_until_serving()
        with Api.connect(server.target) as api:
            refused(lambda: api.predict("missing", digit(0, 30)))
        assert server.terminate() == 0

        assert receiver.named("headstart.v1.PredictionService/Predict")
