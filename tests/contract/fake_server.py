"""A server that answers what a test tells it to, over a real loopback connection."""

# ruff: noqa: N802  # gRPC names the methods

import contextlib
import copy
import itertools
import threading
from collections import defaultdict, deque
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import fine_tuning_service_pb2_grpc as tuning_grpc
from headstart.v1 import job_pb2, model_pb2
from headstart.v1 import model_service_pb2 as keeping
from headstart.v1 import model_service_pb2_grpc as keeping_grpc
from headstart.v1 import prediction_service_pb2 as predicting
from headstart.v1 import prediction_service_pb2_grpc as predicting_grpc


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A status to end a call with. With no reason it carries no details, as if the network had made it."""

    code: grpc.StatusCode
    message: str = "no"
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: dict[str, str] = field(default_factory=dict)
    quotas: dict[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    after_messages: int | None = None  # of a FineTune stream: end it then; else when it is complete

    def status(self) -> status_pb2.Status:
        details = [
            error_details_pb2.ErrorInfo(reason=self.reason, domain="headstart", metadata=self.metadata)
        ]
        if self.violations:
            pairs = self.violations.items()
            fields = [error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in pairs]
            details.append(error_details_pb2.BadRequest(field_violations=fields))
        if self.quotas:
            pairs = self.quotas.items()
            limits = [error_details_pb2.QuotaFailure.Violation(subject=s, description=d) for s, d in pairs]
            details.append(error_details_pb2.QuotaFailure(violations=limits))
        if self.retry_after is not None:
            delay = Duration()
            delay.FromNanoseconds(int(self.retry_after * 1e9))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in details:
            packed = Packed()
            packed.Pack(detail)
            status.details.append(packed)
        return status

    def end(self, context: grpc.ServicerContext) -> None:
        if self.reason:
            context.set_trailing_metadata((("grpc-status-details-bin", self.status().SerializeToString()),))
        context.abort(self.code, self.message)


UNAVAILABLE = Fault(code=grpc.StatusCode.UNAVAILABLE, message="draining", reason="DRAINING")


class FakeServer:
    """Answers each method with the next step of its script, or with the standing answer.

    A step is a response, a `Fault`, or a callable that takes the request and gives one of these. For Watch
    it is a list of events and Faults. Requests are kept in `requests`, by method; for FineTune each is a
    list of messages.
    """

    def __init__(self) -> None:
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.metadata: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.remaining: dict[str, list[float | None]] = defaultdict(list)
        self.received: list[list[tuning.FineTuneRequest]] = []  # streams as far as they were wanted
        self.started = threading.Event()  # a stream has begun
        self.expects_broken = False
        self.broken = threading.Event()  # a stream that was expected to be given up by its sender was
        self.standing: dict[str, Any] = copy.deepcopy(_STANDING)
        self._script: dict[str, deque[Any]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._server = self._built()
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def script(self, method: str, *steps: Any) -> None:
        self._script[method].extend(steps)

    def restart(self) -> None:
        """Drops every connection and comes back on the same port."""
        self._server.stop(None).wait()
        self._server = self._built()
        assert self._server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def step(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        with self._lock:
            self.requests[method].append(request)
            self.metadata[method].append(dict(context.invocation_metadata()))
            self.remaining[method].append(context.time_remaining())
            script = self._script[method]
            return script.popleft() if script else self.standing[method]

    def answer(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        step = self.step(method, request, context)
        if callable(step):
            step = step(request)
        if isinstance(step, Fault):
            step.end(context)
        return step

    def _built(self) -> grpc.Server:
        options = [("grpc.max_receive_message_length", 64 * 2**20), ("grpc.so_reuseport", 0)]
        server = grpc.server(futures.ThreadPoolExecutor(8), options=options)
        tuning_grpc.add_FineTuningServiceServicer_to_server(_FineTuning(self), server)
        keeping_grpc.add_ModelServiceServicer_to_server(_Models(self), server)
        predicting_grpc.add_PredictionServiceServicer_to_server(_Prediction(self), server)
        health_pb2_grpc.add_HealthServicer_to_server(_Health(self), server)
        return server


class _FineTuning(tuning_grpc.FineTuningServiceServicer):
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    def FineTune(self, request_iterator, context):
        messages: list[tuning.FineTuneRequest] = []
        step = self._fake.step("FineTune", messages, context)
        limit = step.after_messages if isinstance(step, Fault) else None
        over = threading.Event()
        context.add_callback(over.set)
        self._fake.started.set()
        # To the iterator a cancelled stream may look like a finished one. But only a cancelled call is over
        # before it is answered.
        with contextlib.suppress(Exception):
            messages.extend(itertools.islice(request_iterator, limit))
        if self._fake.expects_broken and over.wait(10):
            self._fake.broken.set()
            return None
        self._fake.received.append(messages)
        if callable(step):
            step = step(messages)
        if isinstance(step, Fault):
            step.end(context)
        return step

    def Status(self, request, context):
        return self._fake.answer("Status", request, context)

    def Watch(self, request, context):
        for event in self._fake.answer("Watch", request, context):
            if isinstance(event, Fault):
                event.end(context)
            yield tuning.WatchResponse(event=event)

    def Cancel(self, request, context):
        return self._fake.answer("Cancel", request, context)

    def ListJobs(self, request, context):
        return self._fake.answer("ListJobs", request, context)


class _Models(keeping_grpc.ModelServiceServicer):
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    def ListModels(self, request, context):
        return self._fake.answer("ListModels", request, context)

    def GetModel(self, request, context):
        return self._fake.answer("GetModel", request, context)

    def SetAlias(self, request, context):
        return self._fake.answer("SetAlias", request, context)

    def DeleteVersion(self, request, context):
        return self._fake.answer("DeleteVersion", request, context)

    def DeleteModel(self, request, context):
        return self._fake.answer("DeleteModel", request, context)

    def ListBackbones(self, request, context):
        return self._fake.answer("ListBackbones", request, context)


class _Prediction(predicting_grpc.PredictionServiceServicer):
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    def Predict(self, request, context):
        return self._fake.answer("Predict", request, context)

    def Embed(self, request, context):
        return self._fake.answer("Embed", request, context)


class _Health(health_pb2_grpc.HealthServicer):
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    def Check(self, request, context):
        return self._fake.answer("Check", request, context)


def job(state: str = "QUEUED", **fields: Any) -> job_pb2.Job:
    spec = fields.pop("spec", None) or job_pb2.FineTuneSpec(model="pets")
    return job_pb2.Job(
        job_id=fields.pop("job_id", "job-1"),
        state=f"JOB_STATE_{state}",
        spec=spec,
        create_time=Timestamp(seconds=1_700_000_000),
        **fields,
    )


def event(number: int, state: str = "RUNNING", step: str | None = None, **progress: Any) -> job_pb2.JobEvent:
    return job_pb2.JobEvent(
        job_id="job-1",
        number=number,
        state=f"JOB_STATE_{state}",
        event_time=Timestamp(seconds=1_700_000_000 + number),
        progress=job_pb2.Progress(step=f"JOB_STEP_{step}", **progress) if step else None,
    )


def version(number: int, **fields: Any) -> model_pb2.Version:
    return model_pb2.Version(
        model="pets",
        number=number,
        create_time=Timestamp(seconds=1_700_000_000),
        class_names=["cat", "dog"],
        metrics=model_pb2.Metrics(
            source="METRICS_SOURCE_OUT_OF_FOLD",
            example_count=40,
            accuracy=0.95,
            accuracy_low=0.84,
            accuracy_high=0.99,
            log_loss=0.125,
            confusion=[
                model_pb2.ConfusionCell(actual=0, predicted=0, count=20),
                model_pb2.ConfusionCell(actual=1, predicted=1, count=18),
                model_pb2.ConfusionCell(actual=1, predicted=0, count=2),
            ],
        ),
        lineage=model_pb2.Lineage(
            job_id="job-1",
            backbone="efficientnet-lite0",
            recipe=job_pb2.Recipe(ridge=job_pb2.RidgeRecipe(regularization=0.1, folds=5, view="last")),
            seed=7,
            example_count=40,
            runtime="openvino bfloat16",
        ),
        size_bytes=4096,
        **fields,
    )


def model(name: str = "pets", **fields: Any) -> model_pb2.Model:
    return model_pb2.Model(
        name=name,
        create_time=Timestamp(seconds=1_700_000_000),
        newest_version=3,
        version_count=3,
        aliases=[alias("stable", 2)],
        **fields,
    )


def alias(name: str, number: int) -> model_pb2.Alias:
    return model_pb2.Alias(name=name, version=number, etag="e1", update_time=Timestamp(seconds=1_700_000_000))


def predicted(request: predicting.PredictRequest) -> predicting.PredictResponse:
    """Each input is taken for a class that is named like the input's own text or bytes."""

    def answered(selector: predicting.VersionSelector) -> predicting.VersionPredictions:
        return predicting.VersionPredictions(
            model=selector.model,
            version=selector.version or 3,
            predictions=[
                predicting.Prediction(
                    classes=[
                        predicting.ClassProbability(
                            name=each.text or each.image.decode(errors="replace")[:20] or "array",
                            probability=0.75,
                            index=1,
                        ),
                        predicting.ClassProbability(name="other", probability=0.25, index=0),
                    ]
                )
                for each in request.inputs
            ],
        )

    return predicting.PredictResponse(
        result=answered(request.target),
        additional_results=[answered(each) for each in request.additional_targets],
        times=predicting.StageTimes(total_milliseconds=2, backbone_milliseconds=1),
    )


_STANDING: dict[str, Any] = {
    "FineTune": tuning.FineTuneResponse(job=job()),
    "Status": tuning.StatusResponse(job=job("SUCCEEDED", version=3, last_event=3)),
    "Watch": [event(1, "QUEUED"), event(2, step="FIT", fraction=0.5), event(3, "SUCCEEDED")],
    "Cancel": tuning.CancelResponse(job=job("CANCELLED")),
    "ListJobs": tuning.ListJobsResponse(jobs=[job()]),
    "ListModels": keeping.ListModelsResponse(models=[model()]),
    "GetModel": keeping.GetModelResponse(model=model(), versions=[version(n) for n in (3, 2, 1)]),
    "SetAlias": lambda request: keeping.SetAliasResponse(alias=alias(request.alias, request.version)),
    "DeleteVersion": keeping.DeleteVersionResponse(),
    "DeleteModel": keeping.DeleteModelResponse(deleted_versions=3),
    "ListBackbones": keeping.ListBackbonesResponse(
        backbones=[
            model_pb2.Backbone(
                name="efficientnet-lite0",
                modality="MODALITY_IMAGE",
                views={"last": 1280, "taps": 528},
                input_size=[224, 224],
                parameter_count=4_652_008,
                license="Apache-2.0",
                ready=True,
                default=True,
                description="A small network for pictures.",
                runtime="openvino bfloat16",
            )
        ]
    ),
    "Predict": predicted,
    "Check": health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING),
}
