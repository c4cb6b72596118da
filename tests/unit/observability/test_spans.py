"""Spans: the place of each call and job in a trace, and its attributes."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from fakes import LEASE, PATIENCE, JobDriver, ManualClock, Publisher
from headstart_server.api.grpc.call_observer import CallObserver
from headstart_server.api.grpc.interceptor import CallInterceptor
from headstart_server.errors import ModelNotFound
from headstart_server.jobs.heartbeat import Heartbeat
from headstart_server.jobs.job import Job
from headstart_server.jobs.job_runner import JobRunner
from headstart_server.jobs.workers import WorkerPool
from headstart_server.observability.open_telemetry import OpenTelemetryTracing
from headstart_server.observability.telemetry import Telemetry
from headstart_server.observability.trace_setting import open_tracing
from headstart_server.observability.tracing import NO_TRACING
from headstart_server.training.fine_tune import FineTuneRun
from workbench import Workbench, pets

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "Bearer s3cr3t"
STAGES = {"total": 1.0, "resolve": 0.1, "decode": 0.2, "queue": 0.3, "backbone": 0.25, "head": 0.15}


class Seen:
    """Traces, and the spans that were made."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = OpenTelemetryTracing(provider)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def span(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.spans if span.name == name]
        return found


class Context:
    """The context that a handler gets with the request."""

    def __init__(self, *metadata: tuple[str, str]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return self._metadata

    async def abort_with_status(self, status: Any) -> None:
        raise grpc.aio.AbortError(status.code)


@pytest.fixture
def seen() -> Seen:
    return Seen()


async def call(seen: Seen, *metadata: tuple[str, str], error: Exception | None = None) -> Telemetry:
    """One call of a Predict, with its stages."""

    async def predict(request: HealthCheckRequest, context: Any) -> HealthCheckRequest:
        if error is not None:
            raise error
        seen.tracing.stages(STAGES, model="pets", version=3, inputs=2)
        return request

    handler = grpc.unary_unary_rpc_method_handler(predict, HealthCheckRequest.FromString)

    async def find(details: Any) -> grpc.RpcMethodHandler:
        return handler

    telemetry = Telemetry("test")
    wrapped = await CallInterceptor(CallObserver(telemetry, seen.tracing)).intercept_service(
        find, SimpleNamespace(method="/a.Prediction/Predict")
    )
    await wrapped.unary_unary(
        HealthCheckRequest(service="a secret input").SerializeToString(), Context(*metadata)
    )
    return telemetry


async def test_a_call_is_a_part_of_the_span_that_its_metadata_names(seen: Seen):
    await call(seen, ("traceparent", f"00-{TRACE}-{PARENT}-01"))

    span = seen.span("a.Prediction/Predict")
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.kind is SpanKind.SERVER


@pytest.mark.parametrize("carried", [(), (("traceparent", "00-nothing"),)])
async def test_a_call_without_a_readable_parent_begins_a_trace(seen: Seen, carried: tuple[Any, ...]):
    await call(seen, *carried)

    assert seen.span("a.Prediction/Predict").parent is None


async def test_the_stages_of_a_predict_lie_within_it_in_their_order(seen: Seen):
    await call(seen)

    predict = seen.span("a.Prediction/Predict")
    stages = {name: seen.span(name) for name in ("resolve", "decode", "queue", "backbone", "head")}
    for name, span in stages.items():
        assert span.parent.span_id == predict.context.span_id
        assert (span.end_time - span.start_time) / 1e9 == pytest.approx(STAGES[name], abs=1e-4)
    begun = [span.start_time for span in stages.values()]
    assert begun == sorted(begun)
    assert predict.attributes["headstart.model"] == "pets"
    assert predict.attributes["headstart.inputs"] == 2


async def test_an_error_of_the_caller_has_its_code_and_is_no_error_of_the_server(seen: Seen):
    with pytest.raises(grpc.aio.AbortError):
        await call(seen, error=ModelNotFound("There is no model 'pets'."))

    span = seen.span("a.Prediction/Predict")
    assert span.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert span.status.status_code is StatusCode.UNSET


async def test_a_fault_of_the_server_is_an_error(seen: Seen):
    with pytest.raises(grpc.aio.AbortError):
        await call(seen, error=RuntimeError("a secret input"))

    assert seen.span("a.Prediction/Predict").status.status_code is StatusCode.ERROR


async def test_spans_contain_only_names_numbers_and_codes(seen: Seen):
    await call(seen, ("authorization", SECRET), ("traceparent", f"00-{TRACE}-{PARENT}-01"))
    with pytest.raises(grpc.aio.AbortError):
        await call(seen, ("authorization", SECRET), error=RuntimeError("a secret input"))

    exported = "".join(span.to_json() for span in seen.spans)
    assert "secret" not in exported
    assert "s3cr3t" not in exported


async def test_the_latency_of_a_call_has_its_trace_as_exemplar(seen: Seen):
    telemetry = await call(seen, ("traceparent", f"00-{TRACE}-{PARENT}-01"))

    exemplars = [
        sample.exemplar.labels
        for family in telemetry.registry.collect()
        for sample in family.samples
        if sample.name == "grpc_server_handling_seconds_bucket" and sample.exemplar
    ]
    assert [labels["trace_id"] for labels in exemplars] == [TRACE]


# Jobs


@pytest.fixture
def bench(tmp_path_factory: pytest.TempPathFactory, driver: JobDriver) -> Iterator[Workbench]:
    bench = Workbench(tmp_path_factory.mktemp("bench"), driver)
    yield bench
    bench.close()


@pytest.fixture
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobDriver]:
    publisher = Publisher(tmp_path_factory.mktemp("driver"), ManualClock())
    yield JobDriver(publisher)
    publisher.close()


def work(seen: Seen, bench: Workbench) -> str:
    """Let a worker run the next job to its end; returns how that was."""
    import threading
    from dataclasses import replace

    tools = replace(bench.steps, reporting=replace(bench.steps.reporting, tracing=seen.tracing))
    ended, outcomes = threading.Event(), []

    class Ends:
        def job_ended(self, outcome: str) -> None:
            outcomes.append(outcome)
            ended.set()

    store = bench.driver.job_store
    pool = WorkerPool(
        store.queue,
        Heartbeat(store.queue, store.runs, LEASE, is_shared=False),
        JobRunner(
            store.queue,
            store.runs,
            lambda job, checkpoint: FineTuneRun(job, tools, checkpoint),
            Ends(),
            tracing=seen.tracing,
        ),
        lambda _: None,
        size=1,
    )
    pool.start()
    assert ended.wait(PATIENCE)
    pool.stop(PATIENCE)
    return outcomes[0]


def accepted(seen: Seen, bench: Workbench, *, each: int = 6) -> Job:
    """Send a fine-tune within a call."""
    bench.submissions = bench.open_submissions(seen.tracing)
    with seen.tracing.step("call"):
        return bench.accept(pets(each))


def test_a_job_is_a_separate_trace_with_a_link_to_the_call_that_submitted_it(seen: Seen, bench: Workbench):
    job = accepted(seen, bench)
    assert work(seen, bench) == "succeeded"

    call, run = seen.span("call"), seen.span("job")
    assert run.parent is None
    assert run.context.trace_id != call.context.trace_id
    assert [link.context.span_id for link in run.links] == [call.context.span_id]
    assert run.attributes["headstart.job_id"] == job.job_id
    assert run.attributes["headstart.outcome"] == "succeeded"


def test_each_step_of_a_job_is_a_span_of_it(seen: Seen, bench: Workbench):
    accepted(seen, bench)
    work(seen, bench)

    run = seen.span("job")
    steps = [span.name for span in seen.spans if span.parent and span.parent.span_id == run.context.span_id]
    assert steps == ["features", "fit", "evaluate", "publish"]


def test_the_call_is_remembered_by_the_next_process(seen: Seen, bench: Workbench, driver: JobDriver):
    job = accepted(seen, bench)
    driver.crash()

    assert (
        f"{seen.span('call').context.span_id:016x}" in driver.job_store.reader.get(job.job_id).trace_context
    )


def test_a_failed_step_is_an_error_without_its_message(seen: Seen, bench: Workbench):
    def decode(content: bytes) -> None:
        raise RuntimeError("a secret input")

    bench.backbone.decode = decode
    accepted(seen, bench)
    assert work(seen, bench) == "failed"

    assert seen.span("features").status.status_code is StatusCode.ERROR
    assert seen.span("job").status.status_code is StatusCode.ERROR
    assert "secret" not in "".join(span.to_json() for span in seen.spans)


def test_a_job_submitted_without_a_trace_has_no_trace_context(bench: Workbench):
    assert bench.accept(pets()).trace_context is None


# Whether traces are made


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "headstart"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_TRACES_EXPORTER": "zipkin"},
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        },
    ],
)
def test_traces_are_recorded_only_on_request(environment: dict[str, str]):
    assert open_tracing(None, environment, "test") is NO_TRACING


@pytest.mark.parametrize(
    ("endpoint", "environment"),
    [
        ("http://127.0.0.1:1", {}),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}),
        (None, {"OTEL_TRACES_EXPORTER": "otlp"}),
    ],
)
def test_a_flag_or_the_environment_requests_traces(endpoint: str | None, environment: dict[str, str]):
    tracing = open_tracing(endpoint, environment, "test")

    assert tracing.is_on
    tracing.close(PATIENCE)


def test_a_server_without_traces_imports_nothing_of_opentelemetry():
    script = (
        "import sys, headstart_server.app.lifecycle\n"
        "import headstart_server.observability.trace_setting as setting\n"
        "assert not setting.open_tracing(None, {}, 'test').is_on\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ended.stdout == "[]\n"
