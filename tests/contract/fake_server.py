"""A server that answers what a test scripts, over a real loopback connection."""

# ruff: noqa: N802  # gRPC names the methods

import contextlib
import copy
import itertools
import threading
from collections import defaultdict, deque
from collections.abc import Iterable
from concurrent import futures
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headstart.v1 import (
    backbone_selection_pb2,
    comparison_pb2,
    evaluation_pb2,
    job_pb2,
    label_pb2,
    model_pb2,
    version_selector_pb2,
)
from headstart.v1 import evaluation_service_pb2 as evaluating
from headstart.v1 import evaluation_service_pb2_grpc as evaluating_grpc
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import fine_tuning_service_pb2_grpc as tuning_grpc
from headstart.v1 import model_service_pb2 as keeping
from headstart.v1 import model_service_pb2_grpc as keeping_grpc
from headstart.v1 import prediction_service_pb2 as predicting
from headstart.v1 import prediction_service_pb2_grpc as predicting_grpc
from headstart.v1 import review_service_pb2_grpc as reviewing_grpc
from headstart.v1 import server_service_pb2 as about
from headstart.v1 import server_service_pb2_grpc as about_grpc


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

    def __init__(self, max_message_bytes: int = 64 * 2**20) -> None:
        self._max_message_bytes = max_message_bytes
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.metadata: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.remaining: dict[str, list[float | None]] = defaultdict(list)
        self.received: list[list[tuning.FineTuneRequest]] = []  # streams as far as they were wanted
        self.started = threading.Event()  # a stream has begun
        self.expects_broken = False
        self.broken = threading.Event()  # a stream that was expected to be given up by its sender was
        self.standing: dict[str, Any] = copy.deepcopy(_STANDING)
        self._script: dict[str, deque[Any]] = defaultdict(deque)
        self._over: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._server = self._built()
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def script(self, method: str, *steps: Any) -> None:
        self._script[method].extend(steps)

    def over(self, method: str) -> threading.Event:
        """Return the event that a call of this method has ended, answered or not."""
        return self._over.setdefault(method, threading.Event())

    def keep(self, *versions: model_pb2.Version, name: str = "pets") -> None:
        """Let a model have these versions from now on."""
        kept = list(versions)

        def get(request: keeping.GetVersionRequest) -> Any:
            number = request.target.version
            found = [each for each in kept if number in (0, each.version)]
            missing = Fault(
                code=grpc.StatusCode.NOT_FOUND, message=f"Model '{name}' has no version {number}."
            )
            return keeping.GetVersionResponse(version=found[0]) if found else missing

        self.standing["GetVersion"] = get
        self.standing["ListVersions"] = keeping.ListVersionsResponse(versions=kept)

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
            over = self.over(method)
            if not context.add_callback(over.set):
                over.set()
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
        options = [("grpc.max_receive_message_length", self._max_message_bytes), ("grpc.so_reuseport", 0)]
        server = grpc.server(futures.ThreadPoolExecutor(8), options=options)
        tuning_grpc.add_FineTuningServiceServicer_to_server(_FineTuning(self), server)
        keeping_grpc.add_ModelServiceServicer_to_server(_Models(self), server)
        predicting_grpc.add_PredictionServiceServicer_to_server(_Prediction(self), server)
        evaluating_grpc.add_EvaluationServiceServicer_to_server(_Evaluation(self), server)
        about_grpc.add_ServerServiceServicer_to_server(_About(self), server)
        reviewing_grpc.add_ReviewServiceServicer_to_server(_Review(self), server)
        health_pb2_grpc.add_HealthServicer_to_server(_Health(self), server)
        return server


class _Review(reviewing_grpc.ReviewServiceServicer):
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    def GetCaptureStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._fake.answer("GetCaptureStatus", request, context)

    def ListReview(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._fake.answer("ListReview", request, context)

    def GetCapturedInput(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._fake.answer("GetCapturedInput", request, context)

    def SendFeedback(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._fake.answer("SendFeedback", request, context)

    def ListFeedback(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._fake.answer("ListFeedback", request, context)

    def GetFeedbackSummary(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._fake.answer("GetFeedbackSummary", request, context)


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

    def Rebase(self, request, context):
        return self._fake.answer("Rebase", request, context)

    def Status(self, request, context):
        return self._fake.answer("Status", request, context)

    def Watch(self, request, context):
        for event in self._fake.answer("Watch", request, context):
            if isinstance(event, Fault):
                event.end(context)
            yield tuning.WatchResponse(event=event)

    def Cancel(self, request, context):
        return self._fake.answer("Cancel", request, context)

    def DeleteJob(self, request, context):
        return self._fake.answer("DeleteJob", request, context)

    def WatchJobs(self, request, context):
        for response in self._fake.answer("WatchJobs", request, context):
            if isinstance(response, Fault):
                response.end(context)
            yield response

    def ListJobs(self, request, context):
        return self._fake.answer("ListJobs", request, context)


class _Models(keeping_grpc.ModelServiceServicer):
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    def ListModels(self, request, context):
        return self._fake.answer("ListModels", request, context)

    def GetModel(self, request, context):
        return self._fake.answer("GetModel", request, context)

    def GetVersion(self, request, context):
        return self._fake.answer("GetVersion", request, context)

    def ListVersions(self, request, context):
        return self._fake.answer("ListVersions", request, context)

    def UpdateVersion(self, request, context):
        return self._fake.answer("UpdateVersion", request, context)

    def GetTraffic(self, request, context):
        return self._fake.answer("GetTraffic", request, context)

    def ListAliasEvents(self, request, context):
        return self._fake.answer("ListAliasEvents", request, context)

    def UpdateModel(self, request, context):
        return self._fake.answer("UpdateModel", request, context)

    def SetAlias(self, request, context):
        return self._fake.answer("SetAlias", request, context)

    def DeleteAlias(self, request, context):
        return self._fake.answer("DeleteAlias", request, context)

    def DeleteVersion(self, request, context):
        return self._fake.answer("DeleteVersion", request, context)

    def EraseExample(self, request, context):
        return self._fake.answer("EraseExample", request, context)

    def DeleteModel(self, request, context):
        return self._fake.answer("DeleteModel", request, context)

    def GetEvaluation(self, request, context):
        return self._fake.answer("GetEvaluation", request, context)

    def GetReport(self, request, context):
        return self._fake.answer("GetReport", request, context)

    def ExportVersion(self, request, context):
        yield from self._fake.answer("ExportVersion", request, context)

    def ListBackbones(self, request, context):
        return self._fake.answer("ListBackbones", request, context)


class _About(about_grpc.ServerServiceServicer):
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    def GetServerInfo(self, request, context):
        return self._fake.answer("GetServerInfo", request, context)

    def WhoAmI(self, request, context):
        return self._fake.answer("WhoAmI", request, context)

    def GetUsage(self, request, context):
        return self._fake.answer("GetUsage", request, context)


class _Prediction(predicting_grpc.PredictionServiceServicer):
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    def Predict(self, request, context):
        return self._fake.answer("Predict", request, context)

    def Embed(self, request, context):
        return self._fake.answer("Embed", request, context)


class _Evaluation(evaluating_grpc.EvaluationServiceServicer):
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    def Evaluate(self, request_iterator, context):
        return self._fake.answer("Evaluate", list(request_iterator), context)

    def Compare(self, request_iterator, context):
        return self._fake.answer("Compare", list(request_iterator), context)


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
        version=number,
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
        model=name,
        create_time=Timestamp(seconds=1_700_000_000),
        newest_version=3,
        version_count=3,
        aliases=[alias("stable", 2)],
        **fields,
    )


def reference(index: int, label: str = "cat") -> label_pb2.ExampleReference:
    return label_pb2.ExampleReference(
        index=index, example_id=f"{label}/{index}.jpg", label=label_pb2.Label(class_name=label)
    )


def evaluation(**fields: Any) -> evaluation_pb2.Evaluation:
    return evaluation_pb2.Evaluation(
        metrics=fields.pop("metrics", None)
        or model_pb2.Metrics(
            source="METRICS_SOURCE_HELD_OUT",
            example_count=40,
            accuracy=0.9,
            accuracy_low=0.77,
            accuracy_high=0.96,
            balanced_accuracy=0.88,
            macro_f1=0.89,
            log_loss=0.3,
            calibration_error=0.02,
        ),
        classes=[
            evaluation_pb2.ClassMetrics(
                name=name,
                support=support,
                precision=precision,
                recall=0.9,
                f1=0.92,
                average_precision=0.95,
                thresholds=[evaluation_pb2.ThresholdPoint(threshold=0.5, precision=0.75, recall=1)],
            )
            for name, support, precision in (("cat", 20, 0.95), ("dog", 20, None))
        ],
        reliability=[
            evaluation_pb2.ReliabilityBin(low=0.5, high=0.75, count=8, confidence=0.625, accuracy=0.5)
        ],
        confused=[evaluation_pb2.ConfusedPair(actual="dog", predicted="cat", count=3)],
        worst=[
            evaluation_pb2.ExampleOutcome(
                example=reference(7, "dog"),
                predicted=label_pb2.Label(class_name="cat"),
                probability=0.03125,
                loss=3.5,
            )
        ],
        **fields,
    )


def findings(**fields: Any) -> evaluation_pb2.DatasetFindings:
    return evaluation_pb2.DatasetFindings(
        duplicates=[
            evaluation_pb2.DuplicateGroup(
                examples=[reference(1), reference(2, "dog")], count=2, exact=False, contradicting=True
            )
        ],
        duplicate_count=1,
        label_issues=[
            evaluation_pb2.LabelIssue(
                example=reference(3),
                suggested_label=label_pb2.Label(class_name="dog"),
                suggested_probability=0.875,
                given_probability=0.125,
            )
        ],
        label_issue_count=1,
        outliers=[evaluation_pb2.Outlier(example=reference(4), distance_ratio=2.5)],
        outlier_count=1,
        learning_curve=[
            evaluation_pb2.LearningPoint(example_count=10, score=0.75),
            evaluation_pb2.LearningPoint(example_count=20, score=0.875),
            evaluation_pb2.LearningPoint(example_count=40, score=0.9375, extrapolated=True),
        ],
        imbalance=1.5,
        estimated_duration=timedelta(seconds=0.5),
        recommendations=[
            evaluation_pb2.Recommendation(
                kind="RECOMMENDATION_KIND_LABEL_ISSUES", message="1 example looks mislabeled: look at it."
            )
        ],
        **fields,
    )


def comparison(**fields: Any) -> comparison_pb2.Comparison:
    return comparison_pb2.Comparison(
        **{
            "example_count": 200,
            "first": {"accuracy": 0.9, "balanced_accuracy": 0.9, "log_loss": 0.3},
            "second": {"accuracy": 0.94, "balanced_accuracy": 0.93, "log_loss": 0.25},
            "difference": 0.04,
            "difference_low": 0.01,
            "difference_high": 0.07,
            "only_first_right": 2,
            "only_second_right": 10,
            "p_value": 0.039,
            "significant": True,
            "classes": [{"name": "cat", "example_count": 100, "first_recall": 0.95, "second_recall": 0.9}],
            "verdict": "The second is better, by more than chance.",
            **fields,
        }
    )


def promotion(decision: str = "PROMOTED", **fields: Any) -> comparison_pb2.Promotion:
    return comparison_pb2.Promotion(
        **{
            "alias": "stable",
            "decision": f"PROMOTION_DECISION_{decision}",
            "baseline_version": 2,
            "comparison": comparison(),
            "reasons": ["The accuracy rises by 4 points."],
            **fields,
        }
    )


def choice(**fields: Any) -> backbone_selection_pb2.BackboneSelection:
    return backbone_selection_pb2.BackboneSelection(
        **{
            "backbone": "small",
            "reason": "It is the cheapest of those within one standard error of the best, large.",
            "candidates": [
                backbone_selection_pb2.BackboneCandidate(
                    backbone="small",
                    outcome="CANDIDATE_OUTCOME_TRIED",
                    accuracy=0.9375,
                    standard_error=0.0125,
                    gap=0.03125,
                    gap_standard_error=0.0625,
                    latency_duration=timedelta(milliseconds=4.5),
                    size_bytes=13_500_000,
                    spent_duration=Duration(seconds=2),
                ),
                backbone_selection_pb2.BackboneCandidate(
                    backbone="large",
                    outcome="CANDIDATE_OUTCOME_TRIED",
                    accuracy=0.96875,
                    standard_error=0.01,
                    gap=0,
                    gap_standard_error=0,
                    latency_duration=timedelta(milliseconds=45),
                    size_bytes=90_000_000,
                    spent_duration=Duration(seconds=8),
                ),
                backbone_selection_pb2.BackboneCandidate(
                    backbone="huge",
                    outcome="CANDIDATE_OUTCOME_NOT_TRIED",
                    message="The time budget of 10 s was used up.",
                    size_bytes=1_200_000_000,
                ),
            ],
            "time_budget": Duration(seconds=10),
            "example_count": 64,
            **fields,
        }
    )


def reported(request: keeping.GetReportRequest) -> keeping.GetReportResponse:
    content, media_type = {
        keeping.REPORT_FORMAT_HTML: (b"<!doctype html><title>pets</title>", "text/html; charset=utf-8"),
        keeping.REPORT_FORMAT_JSON: (b'{"model": "pets"}', "application/json"),
        keeping.REPORT_FORMAT_TEXT: (b"pets, version 3: 95 % right\n", "text/plain; charset=utf-8"),
    }[request.format]
    return keeping.GetReportResponse(content=content, media_type=media_type, version=3)


def alias(name: str, number: int, shares: Iterable[model_pb2.TrafficSplit] = ()) -> model_pb2.Alias:
    moved = Timestamp(seconds=1_700_000_000)
    return model_pb2.Alias(alias=name, version=number, etag="e1", update_time=moved, traffic=shares)


def predicted(request: predicting.PredictRequest) -> predicting.PredictResponse:
    """Each input is taken for a class that is named like the input's own text or bytes."""

    def answered(selector: version_selector_pb2.VersionSelector) -> predicting.VersionPredictions:
        return predicting.VersionPredictions(
            model=selector.model,
            version=selector.version or 3,
            predictions=[
                prediction(each.text or each.image.decode(errors="replace")[:20] or "array")
                for each in request.inputs
            ],
        )

    def prediction(name: str) -> predicting.Prediction:
        classes = [
            predicting.ClassProbability(name=name, probability=0.75, index=1),
            predicting.ClassProbability(name="other", probability=0.25, index=0),
        ]
        return predicting.Prediction(label={"class_name": name}, classes=classes)

    return predicting.PredictResponse(
        results=map(answered, request.targets),
        times=predicting.StageTimes(
            total_duration=timedelta(milliseconds=2), backbone_duration=timedelta(milliseconds=1)
        ),
    )


def predicted_unless_bad(request: predicting.PredictRequest) -> predicting.PredictResponse | Fault:
    """Answer as `predicted`; skip or name all inputs that begin with ``bad``, as the server does."""
    bad = [
        place for place, each in enumerate(request.inputs) if (each.text or each.image)[:3] in ("bad", b"bad")
    ]
    if not bad:
        return predicted(request)
    if request.skip_invalid_inputs and len(bad) < len(request.inputs):
        response = predicted(request)
        for place in bad:
            response.results[0].predictions[place].Clear()
            response.faults.add(
                index=place,
                reason="ERROR_REASON_UNDECODABLE_INPUT",
                message="Expected an image. Received: bytes.",
            )
        return response
    violations = {f"inputs[{place}]": f"Input {place}: Expected an image. Received: bytes." for place in bad}
    if len(bad) > 1:
        violations[f"inputs[{bad[0]}]"] += f" ({len(bad)} of {len(request.inputs)} inputs are at fault.)"
    return Fault(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        message=violations[f"inputs[{bad[0]}]"],
        reason="UNDECODABLE_INPUT",
        violations=violations,
    )


_STANDING: dict[str, Any] = {
    "FineTune": tuning.FineTuneResponse(job=job()),
    "Rebase": tuning.RebaseResponse(job=job()),
    "Status": tuning.StatusResponse(job=job("SUCCEEDED", version=3, last_event=3)),
    "Watch": [event(1, "QUEUED"), event(2, step="FIT", fraction=0.5), event(3, "SUCCEEDED")],
    "Cancel": tuning.CancelResponse(job=job("CANCELLED")),
    "DeleteJob": tuning.DeleteJobResponse(),
    "ListJobs": tuning.ListJobsResponse(jobs=[job()]),
    "ListModels": keeping.ListModelsResponse(models=[model()]),
    "GetModel": keeping.GetModelResponse(model=model()),
    "GetVersion": keeping.GetVersionResponse(version=version(3)),
    "ListVersions": keeping.ListVersionsResponse(versions=[version(n) for n in (3, 2, 1)]),
    "UpdateVersion": keeping.UpdateVersionResponse(version=version(3)),
    "GetTraffic": keeping.GetTrafficResponse(versions=[{"version": 3, "request_count": 5}]),
    "ListAliasEvents": keeping.ListAliasEventsResponse(
        events=[{"model": "pets", "alias": "stable", "version": 3, "previous_version": 2}]
    ),
    "UpdateModel": keeping.UpdateModelResponse(model=model()),
    "SetAlias": lambda request: keeping.SetAliasResponse(
        alias=alias(request.alias, request.version, request.traffic)
    ),
    "DeleteAlias": keeping.DeleteAliasResponse(),
    "DeleteVersion": keeping.DeleteVersionResponse(),
    "EraseExample": keeping.EraseExampleResponse(
        versions=[{"model": "pets", "version": 2}, {"model": "pets", "version": 3}],
        unread_versions=[{"model": "old", "version": 1}],
        job_ids=["job-9"],
        deleted_contents=2,
        datasets=["pets-2026"],
    ),
    "DeleteModel": keeping.DeleteModelResponse(deleted_versions=3),
    "ListBackbones": keeping.ListBackbonesResponse(
        backbones=[
            model_pb2.Backbone(
                backbone="efficientnet-lite0",
                modality="MODALITY_IMAGE",
                views={"last": 1280, "taps": 528},
                input_size=[224, 224],
                parameter_count=4_652_008,
                license="Apache-2.0",
                default=True,
                description="A small network for images.",
            )
        ],
        statuses=[
            model_pb2.BackboneStatus(
                backbone="efficientnet-lite0", ready=True, digest="ab", runtime="openvino bfloat16"
            )
        ],
    ),
    "GetServerInfo": about.GetServerInfoResponse(
        info=about.ServerInfo(
            release="1.0",
            limits={"inputs": 256, "run_duration": timedelta(hours=24)},
            features=[about.FEATURE_HTTP, 999],
            export_formats=["EXPORT_FORMAT_ONNX"],
            default_backbones=[
                {"modality": "MODALITY_TEXT", "backbone": "minilm", "precision_reason": "It is faster."},
                {"modality": "MODALITY_IMAGE", "backbone": "efficientnet-lite0"},
            ],
        )
    ),
    "WhoAmI": about.WhoAmIResponse(
        caller=about.Caller(
            authenticated=True,
            principal="reader",
            permissions=[{"rights": ["RIGHT_PREDICT"], "models": ["pets-*"]}],
        )
    ),
    "GetUsage": about.GetUsageResponse(
        usage=about.Usage(
            version_count=3, version_bytes=1 << 20, example_bytes=4 << 20, stored_bytes_limit=10 << 20
        )
    ),
    "Predict": predicted,
    "GetEvaluation": keeping.GetEvaluationResponse(
        version=version(3), evaluation=evaluation(), findings=findings()
    ),
    "GetReport": reported,
    "Evaluate": evaluating.EvaluateResponse(model="pets", version=3, evaluation=evaluation()),
    "Compare": evaluating.CompareResponse(
        first=version_selector_pb2.VersionRef(model="pets", version=1),
        second=version_selector_pb2.VersionRef(model="pets", version=2),
        comparison=comparison(),
        differing_examples=[
            {
                "example": {"index": 17, "example_id": "cat/7.png", "label": {"class_name": "cat"}},
                "version": {"model": "pets", "version": 2},
                "first_label": {"class_name": "dog"},
                "second_label": {"class_name": "cat"},
            }
        ],
    ),
    "Check": health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING),
}


def rebuilt_response() -> keeping.EraseExampleResponse:
    """Return the response to an erasure that replaced one version and skipped another."""
    certificate = keeping.ErasureCertificate(
        request_id="r1",
        example_id="cat-17",
        start_time={"seconds": 1_700_000_000},
        end_time={"seconds": 1_700_000_002},
        versions=[
            keeping.RebuiltVersion(
                model="pets",
                version=2,
                head_digest="h2",
                dataset_digest="d2",
                new_version=4,
                new_head_digest="h4",
                new_dataset_digest="d4",
                aliases=["stable"],
            ),
            keeping.RebuiltVersion(model="pets", version=3, skipped_reason="Its examples are not stored."),
        ],
        deleted_contents=2,
    )
    return keeping.EraseExampleResponse(
        versions=[{"model": "pets", "version": 2}, {"model": "pets", "version": 3}],
        deleted_contents=2,
        certificate=certificate,
    )
