"""The error of each reason, provoked at a real server and compared with a golden file.

The tests that `ELSEWHERE` names provoke those that need a fault of the server, such as a full disk.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import pytest

from headstart.errors import HeadstartError
from headstart.inputs import tensors
from headstart.transport.status import RpcFailure, error_from_rpc, error_from_status
from headstart.v1 import (
    dataset_service_pb2,
    input_pb2,
    job_pb2,
    model_service_pb2,
    prediction_service_pb2,
    version_selector_pb2,
)
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart_server.api.grpc.status import CODES, TEMPORARY
from headstart_server.api.http.response import http_code
from headstart_server.auth.tokens import token_hash
from integration.server.calls import TERMINAL, TIMEOUT, Api, png
from server_process import FIRST_START_SECONDS, ServerProcess, eventually, running

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = Path(__file__).with_name("golden") / "errors.json"
FLAGS = ("--max-examples", "60", "--max-classes", "4", "--max-pixels", "200000", "--job-workers", "1")
FLAGS += ("--max-queued-jobs", "1", "--max-versions-per-model", "2", "--http-port", "0")

ELSEWHERE = {
    "ARTIFACT_DAMAGED": "integration/server/test_bucket.py::"
    "test_a_damaged_artifact_is_an_error_of_its_version_alone",
    "BACKBONE_MISMATCH": "integration/server/test_declared_backbones.py::"
    "test_other_weights_under_the_name_are_refused_where_pinned_and_reported_by_old_versions_elsewhere",
    "BACKBONE_QUEUE_FULL": "integration/server/test_predicting.py::"
    "test_more_inputs_than_the_server_holds_are_refused_with_the_limit",
    "BACKBONE_UNAVAILABLE": "integration/server/test_declared_backbones.py::"
    "test_one_that_cannot_be_had_is_refused_with_the_reason_and_hinders_no_other",
    "CAPTURED_INPUT_NOT_FOUND": "integration/server/test_capture.py::"
    "test_an_erased_input_is_gone_from_lists_contents_and_storage",
    "CANCELLED": "unit/evaluation/test_evaluator.py::test_a_caller_that_left_ends_the_work_for_it",
    "CRASHED_REPEATEDLY": "unit/jobs/test_crashes.py::test_a_job_that_kills_its_process_fails_alone",
    "DATABASE_UNAVAILABLE": "integration/server/test_replicas.py::"
    "test_predictions_of_resident_versions_go_on_through_an_outage_and_jobs_after_it",
    "DATA_UNAVAILABLE": "integration/server/test_dataset_uris.py::"
    "test_a_site_that_drips_or_breaks_off_does_not_hold_it_up",
    "DEADLINE_EXCEEDED": "integration/server/test_dialects.py::test_a_timeout_of_the_message_is_a_deadline",
    "DRAINING": "unit/embedding/test_embedder.py::test_a_server_that_stops_ends_it",
    "EXPORT_FAILED": "unit/export/test_exporter.py::"
    "test_a_failure_is_raised_to_all_callers_and_leaves_nothing",
    "EXPORT_QUEUE_FULL": "unit/export/test_exporter.py::test_more_than_may_wait_are_refused",
    "EXPORT_UNAVAILABLE": "unit/backbones/worker/test_export_process.py::"
    "test_a_refusal_is_an_error_of_its_kind",
    "INTERNAL": "unit/jobs/test_workers.py::"
    "test_a_server_error_has_the_id_of_its_log_entry_and_the_worker_goes_on",
    "ISSUER_KEYS_UNAVAILABLE": "unit/auth/test_authenticator.py::"
    "test_keys_that_were_never_had_are_reported_as_temporary",
    "JOB_MEMORY_LIMIT": "unit/jobs/test_workers.py::test_a_run_without_memory_fails_with_its_estimate",
    "JOB_TIME_LIMIT": "unit/jobs/test_workers.py::"
    "test_a_run_that_takes_too_long_fails_at_its_next_checkpoint",
    "LOADING": "unit/embedding/test_backbone_pool.py::"
    "test_a_backbone_is_loading_when_first_requested_and_ready_then",
    "MESSAGE_TOO_LARGE": "integration/server/test_http.py::test_errors_are_those_of_grpc",
    "PREDICTION_NOT_CAPTURED": "unit/feedback/test_feedback.py::"
    "test_the_expired_or_unknown_prediction_is_named",
    "RATE_EXCEEDED": "integration/server/test_limits.py::"
    "test_frequent_callers_get_a_time_to_retry_and_health_is_free",
    "STORAGE_FULL": "integration/server/test_bucket.py::"
    "test_a_full_disk_fails_the_job_whose_examples_do_not_fit_and_nothing_else",
    "STORAGE_UNAVAILABLE": "integration/server/test_bucket.py::"
    "test_resident_versions_answer_and_jobs_wait_while_the_bucket_is_away",
    "UNKNOWN_CLASS": "unit/feedback/test_feedback.py::"
    "test_unknown_classes_are_allowed_or_rejected_by_the_policy",
    "TRAINER_DIED": "integration/server/test_partial.py::test_a_trainer_that_is_killed_fails_its_job_alone",
    "WRITTEN_BY_NEWER_RELEASE": "unit/jobs/test_bad_rows.py::"
    "test_a_job_of_a_newer_release_is_named_to_its_caller",
}


class Token(grpc.UnaryUnaryClientInterceptor, grpc.StreamUnaryClientInterceptor):
    """Sends a bearer token with each call."""

    def __init__(self, token: str) -> None:
        self._metadata = [("authorization", f"Bearer {token}")]

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(details._replace(metadata=self._metadata), request)

    intercept_stream_unary = intercept_unary_unary


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sets")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, sets: Path) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("reasons")
    rows = [("owner", "one", "predict train admin"), ("reader", "one", "predict"), ("small", "two", "train")]
    principals = [
        f'[[principals]]\nname = "{name}"\ntoken_sha256 = ["{token_hash(name)}"]\ntenant = "{tenant}"\n'
        f'grants = [{{ rights = {rights.split()}, models = ["*"] }}]\n'
        for name, tenant, rights in rows
    ]
    quota = '[[tenants]]\nname = "two"\nmax_versions = 1\n'
    (folder / "access.toml").write_text("".join(principals) + quota)
    flags = (*FLAGS, "--access-file", str(folder / "access.toml"), "--allow-dataset-uri", str(sets))
    with running(folder / "data", *flags) as server:
        server.wait_until_serving(FIRST_START_SECONDS)
        yield server


def connect(server: ServerProcess, token: str) -> Api:
    return Api(grpc.intercept_channel(grpc.insecure_channel(server.target), Token(token)))


@pytest.fixture(scope="module")
def owner(server: ServerProcess) -> Api:
    return connect(server, "owner")


def row(number: float, size: int = 2) -> input_pb2.Input:
    return input_pb2.Input(tensor=tensors.encode(np.full(size, number, np.float32)))


def examples(count: int = 4, classes: int = 2, **fields: Any) -> list[input_pb2.Example]:
    return [
        input_pb2.Example(
            input=row(place + 10 * (place % classes)), label={"class_name": f"c{place % classes}"}, **fields
        )
        for place in range(count)
    ]


def selector(model: str = "made", **which: Any) -> version_selector_pb2.VersionSelector:
    return version_selector_pb2.VersionSelector(model=model, **which)


@pytest.fixture(scope="module")
def made(owner: Api) -> job_pb2.Job:
    """The job of the one version of a model that has an alias."""
    identified = [
        input_pb2.Example(input=each.input, label=each.label, example_id=f"e{place}")
        for place, each in enumerate(examples())
    ]
    return owner.published(identified, model="made", alias="stable", request_id="first")


@pytest.fixture(scope="module")
def lean(owner: Api) -> None:
    """A model whose version does not retain its examples."""
    owner.published(examples(), model="lean", discard_examples=True)


@pytest.fixture(scope="module")
def busy(owner: Api, made: job_pb2.Job, lean: None) -> Iterator[job_pb2.Job]:
    """A running job, behind which another one is queued."""
    slow = [
        input_pb2.Example(input=row(place + 30 * (place % 2), 4096), label={"class_name": f"c{place % 2}"})
        for place in range(60)
    ]
    running = owner.fine_tune(slow, model="busy", recipe={"mlp": {"max_epochs": 10000}})
    eventually(
        lambda: owner.status(running.job_id).state == job_pb2.JOB_STATE_RUNNING,
        FIRST_START_SECONDS,
        "a running job",
    )
    queued = owner.fine_tune(examples(), model="queued")
    yield running
    for job in (queued, running):
        owner.fine_tuning.Cancel(tuning.CancelRequest(job_id=job.job_id), timeout=TIMEOUT)
        assert owner.ended(job.job_id).state in TERMINAL


def fail(owner: Api, sent: list[input_pb2.Example], **spec: Any) -> None:
    """Raise the error of a job that fails."""
    job = owner.ended(owner.fine_tune(sent, model="failing", **spec).job_id)
    assert job.state == job_pb2.JOB_STATE_FAILED, job
    raise error_from_status(job.error)


def embed(owner: Api, **content: Any) -> None:
    inputs = [input_pb2.Input(**content)]
    request = prediction_service_pb2.EmbedRequest(backbone="efficientnet-lite0", inputs=inputs)
    owner.prediction.Embed(request, timeout=TIMEOUT)


def predict(owner: Api, inputs: int = 1, **target: Any) -> None:
    request = prediction_service_pb2.PredictRequest(targets=[selector(**target)], inputs=[row(1.0)] * inputs)
    owner.prediction.Predict(request, timeout=TIMEOUT)


def small_tenant(server: ServerProcess) -> None:
    api = connect(server, "small")
    api.published(examples(), model="only")
    api.fine_tune(examples(), model="more")


def changed_alias(owner: Api) -> None:
    request = model_service_pb2.SetAliasRequest(model="made", alias="stable", version=1, etag='"0"')
    owner.models.SetAlias(request, timeout=TIMEOUT)


def mixed_labels() -> list[input_pb2.Example]:
    return [*examples(), input_pb2.Example(input=row(99.0), label={"number": 1.0})]


def fine_tunes(server: ServerProcess, owner: Api, sets: Path) -> dict[str, Callable[[], object]]:
    """Return the fine-tune that fails, or is refused, for each reason that needs an idle server."""
    image = input_pb2.Input(image=png(np.zeros((8, 8, 3), np.uint8)))
    same = [input_pb2.Example(input=image, label={"class_name": name}) for name in ("a", "b", "a", "b")]
    return {
        "CONTRADICTING_LABELS": lambda: fail(owner, same, backbone="efficientnet-lite0"),
        "DATA_UNREADABLE": lambda: fail(owner, [], dataset_uri=(sets / "missing.csv").as_uri()),
        "DATASET_TOO_LARGE": lambda: owner.fine_tune(examples(61), model="x"),
        "EMPTY_DATASET": lambda: owner.fine_tune([], model="x"),
        "INVALID_LABEL": lambda: owner.fine_tune(
            [input_pb2.Example(input=row(1.0), label={"class_name": ""})], model="x"
        ),
        "QUOTA_EXCEEDED": lambda: [owner.published(examples(), model="full") for _ in range(3)],
        "TENANT_QUOTA_EXCEEDED": lambda: small_tenant(server),
    }


def refused_calls(server: ServerProcess, owner: Api, busy: job_pb2.Job) -> dict[str, Callable[[], object]]:
    """Return the call that is refused for each reason that needs a model, or a full queue."""
    models, tuner = owner.models, owner.fine_tuning
    stranger = connect(server, "stranger")
    reader = connect(server, "reader")
    return {
        "ALIAS_NOT_FOUND": lambda: predict(owner, alias="stabel"),
        "BACKBONE_NOT_FOUND": lambda: owner.validate(examples(), model="x", backbone="resnet"),
        "ETAG_MISMATCH": lambda: changed_alias(owner),
        "EXAMPLES_NOT_KEPT": lambda: owner.fine_tune(examples(), model="lean", parent_version=1),
        "EXAMPLE_NOT_FOUND": lambda: models.EraseExample(
            model_service_pb2.EraseExampleRequest(model="made", example_id="e9")
        ),
        "INPUT_TOO_LARGE": lambda: embed(owner, image=png(np.zeros((500, 500, 3), np.uint8))),
        "INVALID_FIELD": lambda: owner.fine_tune(examples(), model="My Model"),
        "INVALID_STREAM": lambda: tuner.FineTune(iter([tuning.FineTuneRequest()]), timeout=TIMEOUT),
        "JOB_NOT_FINISHED": lambda: tuner.DeleteJob(tuning.DeleteJobRequest(job_id=busy.job_id)),
        "JOB_NOT_FOUND": lambda: owner.status("no-such-job"),
        "JOB_QUEUE_FULL": lambda: owner.fine_tune(examples(), model="x"),
        "MODEL_NOT_EMPTY": lambda: models.DeleteModel(model_service_pb2.DeleteModelRequest(model="made")),
        "MODEL_NOT_FOUND": lambda: predict(owner, model="mad"),
        "MODEL_NOT_READY": lambda: predict(owner, model="busy"),
        "NO_COMMON_EXAMPLES": lambda: owner.compare(
            selector(),
            selector(),
            [input_pb2.Example(input=row(np.nan), label={"class_name": "c0"})],
        ),
        "PERMISSION_DENIED": lambda: reader.fine_tune(examples(), model="made"),
        "REQUEST_ID_REUSED": lambda: owner.fine_tune(examples(6), model="made", request_id="first"),
        "TOO_FEW_CLASSES": lambda: owner.validate(examples(classes=1), model="x"),
        "TOO_MANY_CLASSES": lambda: owner.validate(examples(10, classes=5), model="x"),
        "UNAUTHENTICATED": lambda: predict(stranger),
        "UNDECODABLE_INPUT": lambda: embed(owner, image=b"not an image"),
        "VERSION_IN_USE": lambda: models.DeleteVersion(
            model_service_pb2.DeleteVersionRequest(model="made", version=1)
        ),
        "VERSION_NOT_FOUND": lambda: predict(owner, version=9),
        "WRONG_MODALITY": lambda: embed(owner, text="a text"),
        "WRONG_TASK": lambda: owner.validate(mixed_labels(), model="x"),
    }


def dataset_errors(owner: Api) -> dict[str, Callable[[], object]]:
    """Return the call that fails for each reason of datasets; `open` has one batch, `done` is finished."""
    datasets = owner.datasets
    batch = tuning.ExampleBatch(examples=examples())
    for name in ("open", "done"):
        datasets.CreateDataset(dataset_service_pb2.CreateDatasetRequest(dataset=name))
        datasets.WriteExamples(
            dataset_service_pb2.WriteExamplesRequest(dataset=name, batch=0, examples=batch)
        )
    datasets.FinishDataset(dataset_service_pb2.FinishDatasetRequest(dataset="done"))

    def write(**fields: Any) -> None:
        request = dataset_service_pb2.WriteExamplesRequest(**{"dataset": "open", "batch": 1, **fields})
        datasets.WriteExamples(request, timeout=TIMEOUT)

    return {
        "BATCH_CONFLICT": lambda: write(batch=0, examples=tuning.ExampleBatch(examples=examples(6))),
        "BATCH_MISSING": lambda: write(batch=3, examples=batch),
        "CHECKSUM_MISMATCH": lambda: write(examples=batch, sha256=bytes(32)),
        "DATASET_EXISTS": lambda: datasets.CreateDataset(
            dataset_service_pb2.CreateDatasetRequest(dataset="open")
        ),
        "DATASET_FINISHED": lambda: write(dataset="done", examples=batch),
        "DATASET_NOT_FOUND": lambda: write(dataset="opne", examples=batch),
        "DATASET_NOT_READY": lambda: owner.fine_tune([], model="x", dataset="open"),
    }


def described(sets: Path, name: str, provoke: Callable[[], object]) -> dict[str, Any]:
    """Return what a caller gets to know of an error; IDs and folders are replaced."""
    try:
        pytest.fail(f"Expected an error of {name}. Received: {provoke()}")
    except grpc.RpcError as failure:
        error: HeadstartError = error_from_rpc(cast(RpcFailure, failure), "server")
    except HeadstartError as raised:
        error = raised
    number: Any = error.code.value
    return {
        "reason": error.reason,
        "code": error.code.name,
        "http": http_code(number[0], error.reason),
        "message": without_details(error.message, sets),
        "fields": sorted(each.field for each in error.field_violations),
        "metadata": sorted(error.metadata),
        "has_delay": error.retry_after is not None,
    }


def without_details(message: str, sets: Path) -> str:
    """Return a message without its ids and folders, and without the delay, which depends on the machine."""
    message = re.sub(r"[0-9a-f]{32}", "ID", message).replace(str(sets), "SETS")
    return re.sub(r"Try again in [0-9.]+ s", "Try again in N s", message)


@pytest.fixture(scope="module")
def errors(server: ServerProcess, owner: Api, sets: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    found = {name: described(sets, name, each) for name, each in fine_tunes(server, owner, sets).items()}
    found |= {name: described(sets, name, each) for name, each in dataset_errors(owner).items()}
    busy = request.getfixturevalue("busy")
    calls = refused_calls(server, owner, busy)
    return dict(sorted((found | {name: described(sets, name, each) for name, each in calls.items()}).items()))


def test_the_error_of_each_reason_is_that_of_the_golden_file(errors: dict[str, Any]) -> None:
    """Set UPDATE_GOLDEN=1 to write the file again, and read the difference."""
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(errors, indent=1) + "\n", encoding="utf-8")

    assert errors == json.loads(GOLDEN.read_text(encoding="utf-8"))
    for name, each in errors.items():
        assert each["reason"] == name
        assert each["code"] == CODES[name].name
        assert each["has_delay"] == (name in TEMPORARY or each["code"] == "UNAVAILABLE")


def test_every_reason_is_provoked() -> None:
    here = set(json.loads(GOLDEN.read_text(encoding="utf-8")))

    assert here.isdisjoint(ELSEWHERE)
    assert here | set(ELSEWHERE) == set(CODES)


@pytest.mark.parametrize("test", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_the_tests_of_the_other_reasons_exist(test: str) -> None:
    file, name = test.split("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE)
