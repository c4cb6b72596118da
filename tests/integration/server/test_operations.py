"""What operators see and set: health, reflection, metrics, ports and limits."""

import os
import subprocess
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from forked import run_headstart
from integration.server.calls import SERVICES, TIMEOUT, Api, Start, digit, digits, example, refused
from server_process import START_SECONDS, Samples, ServerProcess, eventually, serve_arguments

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


# Health


@pytest.mark.parametrize("service", SERVICES)
def test_a_server_that_starts_is_not_serving_until_it_is(start: Start, service: str):
    # The backbone may have been warm before the first look.
    assert start.watches[service] in ([NOT_SERVING, SERVING], [SERVING])


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_serving_once_it_is_warm(api: Api, service: str):
    assert api.health.Check(health_pb2.HealthCheckRequest(service=service)).status == SERVING


def test_the_health_of_an_unknown_service_is_not_found(api: Api):
    refusal = refused(lambda: api.health.Check(health_pb2.HealthCheckRequest(service="other")))

    assert refusal.code == grpc.StatusCode.NOT_FOUND


def test_the_health_command_reports_whether_a_server_is_serving(server: ServerProcess):
    # Containers get the proxy of their host's settings, and it cannot reach them.
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:1", "no_proxy": "", "no_grpc_proxy": ""}

    def health(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return run_headstart("health", *arguments, environment=environment, module="headstart_server")

    serving = health("--target", server.target)
    missing = health("--target", "127.0.0.1:1", "--timeout", "5")

    assert (serving.returncode, serving.stdout) == (0, f"{server.target}: SERVING\n")
    assert missing.returncode == 1
    assert "127.0.0.1:1: UNAVAILABLE" in missing.stderr


# Reflection


def test_the_contract_can_be_read_from_a_server_with_reflection(api: Api):
    stub = reflection_pb2_grpc.ServerReflectionStub(api.channel)
    request = reflection_pb2.ServerReflectionRequest
    listed, found = stub.ServerReflectionInfo(
        iter([request(list_services=""), request(file_containing_symbol="headstart.v1.PredictionService")])
    )
    files = [
        FileDescriptorProto.FromString(file) for file in found.file_descriptor_response.file_descriptor_proto
    ]

    assert {service.name for service in listed.list_services_response.service} >= {
        *SERVICES[1:],
        "grpc.health.v1.Health",
    }
    assert [method.name for method in files[0].service[0].method] == ["Predict", "Embed"]


# Metrics


def grows(server: ServerProcess, before: Samples, by: float, name: str, **labels: str) -> None:
    """Check that a metric has grown; it is counted just after the answer has gone out."""

    def grew() -> bool:
        return server.metrics().value(name, **labels) - before.value(name, **labels) == by

    eventually(grew, TIMEOUT, f"{name} of {labels} to grow by {by:g}")


def test_calls_and_predictions_are_counted(api: Api, server: ServerProcess, digits_model: str):
    method = {
        "grpc_type": "unary",
        "grpc_service": "headstart.v1.PredictionService",
        "grpc_method": "Predict",
    }
    before = server.metrics()
    for _ in range(3):
        api.predict(digits_model, digit(0, 30), digit(1, 30))
    refused(lambda: api.predict("missing", digit(0, 30)))

    grows(server, before, 3, "grpc_server_handled_total", grpc_code="OK", **method)
    grows(server, before, 1, "grpc_server_handled_total", grpc_code="NOT_FOUND", **method)
    grows(server, before, 4, "grpc_server_started_total", **method)
    grows(server, before, 4, "grpc_server_handling_seconds_count", **method)
    grows(server, before, 4, "grpc_server_msg_received_total", **method)
    grows(server, before, 3, "grpc_server_msg_sent_total", **method)
    grows(server, before, 6, "headstart_predictions_total", model=digits_model, version="1")
    grows(server, before, 6, "headstart_batch_size_sum", lane="predict")
    grows(server, before, 3, "headstart_predict_stage_duration_seconds_count", stage="backbone")
    assert server.metrics().value("headstart_queue_depth", lane="predict") == 0


def test_jobs_and_versions_are_counted(api: Api, server: ServerProcess, model: str):
    before = server.metrics()
    api.published(digits((0, 1), 5, start=100), model=model)
    api.ended(api.fine_tune([example(b"none", "0"), *digits((0, 1), 2)], model=model).job_id)

    grows(server, before, 1, "headstart_versions_published_total", model=model)
    grows(server, before, 1, "headstart_job_runs_total", outcome="succeeded")
    grows(server, before, 1, "headstart_job_runs_total", outcome="failed")
    grows(server, before, 1, "headstart_jobs", state="succeeded")
    grows(server, before, 1, "headstart_jobs", state="failed")
    after = server.metrics()
    assert after.value("headstart_version_examples", model=model) == 10
    assert 0 <= after.value("headstart_version_accuracy", model=model) <= 1
    assert after.value("headstart_memory_bytes", component="feature_cache") > 0
    misses = after.value("headstart_feature_cache_requests_total", outcome="miss")
    assert misses - before.value("headstart_feature_cache_requests_total", outcome="miss") >= 10


def test_every_metric_has_a_type_and_a_description(server: ServerProcess):
    families = list(text_string_to_metric_families(server.scrape()))
    names = {family.name for family in families}

    assert len(families) == len(names) >= 15
    assert all(family.documentation and family.type != "unknown" for family in families)
    assert {"headstart_build_info", "headstart_jobs", "headstart_queue_depth"} <= names


# Ports, folders and limits


def test_a_message_over_the_limit_is_refused_with_the_limit(api: Api, digits_model: str):
    refusal = refused(lambda: api.predict(digits_model, bytes(17 << 20)))

    assert refusal.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    # The largest input of the server, 8 MiB, in base64, and a MiB.
    assert str((8 << 20) * 4 // 3 + (1 << 20)) in refusal.message
    assert api.predict(digits_model, digit(0, 30)).results[0].version == 1


def failed_start(data: Path, *flags: str, port: int = 0, code: int = 1) -> str:
    """Return the last line of a server that cannot start."""
    done = run_headstart(
        *serve_arguments(data, *flags, port=port), environment=os.environ, module="headstart_server"
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_a_second_server_on_a_data_folder_is_refused(server: ServerProcess):
    said = failed_start(server.data)

    assert str(server.data) in said
    assert "Another headstart-server uses the data folder" in said


def test_a_port_in_use_is_refused(server: ServerProcess, tmp_path: Path):
    said = failed_start(tmp_path / "data", port=server.port)

    assert said.startswith("headstart-server: Cannot listen on")
    assert server.target in said


def test_a_metrics_port_in_use_is_refused(server: ServerProcess, tmp_path: Path):
    said = failed_start(tmp_path / "data", "--metrics-port", str(server.metrics_port))

    assert said.startswith("headstart-server: Cannot listen on")
    assert f"127.0.0.1:{server.metrics_port}" in said


def test_an_unknown_backbone_is_refused_at_start(tmp_path: Path):
    said = failed_start(tmp_path / "data", "--default-backbone", "resnet", code=2)

    assert "'resnet'" in said
    assert "efficientnet-lite0" in said


def test_the_time_from_start_to_serving_is_reported(server: ServerProcess):
    server.wait_until_serving()
    seconds = server.metrics().value("headstart_startup_seconds")
    assert 0 < seconds <= START_SECONDS
    assert f'"seconds_since_start": {seconds}' in server.log
