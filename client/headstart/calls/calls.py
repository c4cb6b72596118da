"""Calls of the contract as values: the request, the method's path and the response's reader."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar, get_args

from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.wrappers_pb2 import Int32Value

from headstart.decode import decode
from headstart.errors import Unavailable
from headstart.results import (
    Alias,
    Backbone,
    BackboneStatus,
    ErasedExample,
    ExportFormat,
    JobEvent,
    JobState,
    JobStatus,
    Model,
    Report,
    ReportFormat,
    VersionEvaluation,
)
from headstart.transport.channel import is_repeatable
from headstart.v1 import (
    dataset_service_pb2,
    evaluation_service_pb2,
    example_service_pb2,
    model_pb2,
    prediction_service_pb2,
    review_service_pb2,
    server_service_pb2,
)
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import model_service_pb2 as keeping
from headstart.version_ref import VersionRef, selector

Result = TypeVar("Result")
Item = TypeVar("Item")

_FILES: tuple[FileDescriptor, ...] = tuple(
    module.DESCRIPTOR
    for module in (
        dataset_service_pb2,
        evaluation_service_pb2,
        example_service_pb2,
        tuning,
        keeping,
        prediction_service_pb2,
        review_service_pb2,
        server_service_pb2,
    )
)
_PAGE_SIZE = 100
_SERVING = 1
#: Longest wait of a Status call that servers accept, in seconds.
_MAX_WAIT_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Call(Generic[Result]):
    """A call, for a synchronous or asynchronous channel."""

    path: str  # full name of the method
    request: Message  # the request
    response: type[Message]  # type of the response, or of each response of a stream
    read: Callable[[Any], Result]  # converts a response into a result
    extra_seconds: float = 0.0  # seconds that the request lets the server wait, added to the call's deadline
    repeatable: bool = False  # whether the call is idempotent

    @classmethod
    def of(
        cls,
        request: Message,
        read: Callable[[Any], Result],
        *,
        extra_seconds: float = 0.0,
        repeatable: bool = False,
    ) -> "Call[Result]":
        """Return the call of the method that takes a request; a message is the request of one method only."""
        path, response = _method_of(request.DESCRIPTOR)
        return cls(
            path=path,
            request=request,
            response=response,
            read=read,
            extra_seconds=extra_seconds,
            repeatable=repeatable,
        )

    def may_follow(self, error: Unavailable) -> bool:
        """Return whether the call may be sent again after this error."""
        # A stopping server marks the calls that it rejected without reading them.
        return self.repeatable or is_repeatable(self.path) or error.metadata.get("begun") == "false"


@cache
def _method_of(request: Descriptor) -> tuple[str, type[Message]]:
    """Return the path of the method that takes a message, and the type of its responses."""
    return next(
        (f"/{service.full_name}/{method.name}", GetMessageClass(method.output_type))
        for file in _FILES
        for service in file.services_by_name.values()
        for method in service.methods
        if method.input_type.full_name == request.full_name
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[Item]):
    """A page of a list; `next_token` is empty on the last."""

    items: tuple[Item, ...]
    next_token: str


def page_of(response: Any, messages: Iterable[Message], kind: type[Item]) -> Page[Item]:
    """Return a page with the items of a response."""
    return Page(
        items=tuple(decode(message, kind) for message in messages), next_token=response.next_page_token
    )


def job_status(job_id: str, wait: float = 0.0) -> Call[JobStatus]:
    """Return the call of Status, which waits up to `wait` seconds for the job's end, at most an hour."""
    request = tuning.StatusRequest(job_id=job_id)
    wait = min(wait, _MAX_WAIT_SECONDS)
    if wait > 0:
        request.wait_duration.FromNanoseconds(int(wait * 1e9))
    return Call.of(request, read=lambda response: decode(response.job, JobStatus), extra_seconds=wait)


def job_events(job_id: str, after: int) -> Call[JobEvent]:
    """Return the call of Watch, from the event after this number."""
    return Call.of(
        tuning.WatchRequest(job_id=job_id, after_event=after),
        read=lambda response: decode(response.event, JobEvent),
    )


def job_cancellation(job_id: str) -> Call[JobStatus]:
    """Return the call of Cancel."""
    return Call.of(tuning.CancelRequest(job_id=job_id), read=lambda response: decode(response.job, JobStatus))


def job_page(
    model: str | None, states: Collection[JobState | str] | str | None, token: str
) -> Call[Page[JobStatus]]:
    """Return the call of ListJobs."""
    listed = [states] if isinstance(states, str) else states or ()
    return Call.of(
        tuning.ListJobsRequest(
            model=model or "",
            states=[f"JOB_STATE_{JobState(state).value}" for state in listed],
            page_size=_PAGE_SIZE,
            page_token=token,
        ),
        read=lambda response: page_of(response, response.jobs, JobStatus),
    )


def model_page(token: str) -> Call[Page[Model]]:
    """Return the call of ListModels."""
    return Call.of(
        keeping.ListModelsRequest(page_size=_PAGE_SIZE, page_token=token),
        read=lambda response: page_of(response, response.models, Model),
    )


def backbone_page(token: str) -> Call[Page[Backbone]]:
    """Return the call of ListBackbones."""
    return Call.of(
        keeping.ListBackbonesRequest(page_size=_PAGE_SIZE, page_token=token),
        read=lambda response: Page(
            items=_backbones(response),
            next_token=response.next_page_token,
        ),
    )


def _backbones(response: keeping.ListBackbonesResponse) -> tuple[Backbone, ...]:
    statuses = {each.backbone: each for each in response.statuses}
    return tuple(
        decode(
            each,
            Backbone,
            status=decode(
                statuses.get(each.backbone, model_pb2.BackboneStatus(backbone=each.backbone)), BackboneStatus
            ),
        )
        for each in response.backbones
    )


def alias_setting(
    model: str, alias: str, version: int, etag: str | None, traffic: Mapping[int, float] | None = None
) -> Call[Alias]:
    """Return the call of SetAlias."""
    named = VersionRef(model, version=version)
    splits = [
        model_pb2.TrafficSplit(version=other, fraction=share) for other, share in (traffic or {}).items()
    ]
    return Call.of(
        keeping.SetAliasRequest(
            model=named.model, alias=alias, version=named.version, etag=etag or "", traffic=splits
        ),
        read=lambda response: decode(response.alias, Alias),
        # With an etag, a repeated call would fail, because the first one has moved the alias.
        repeatable=not etag,
    )


def alias_removal(model: str, alias: str, etag: str | None) -> Call[None]:
    """Return the call of DeleteAlias."""
    return Call.of(keeping.DeleteAliasRequest(model=model, alias=alias, etag=etag or ""), read=lambda _: None)


def version_deletion(model: str, version: int, force: bool) -> Call[None]:
    """Return the call of DeleteVersion."""
    return Call.of(
        keeping.DeleteVersionRequest(model=model, version=version, force=force), read=lambda _: None
    )


def model_deletion(model: str, force: bool = False) -> Call[int]:
    """Return the call of DeleteModel, whose result is the number of deleted versions."""
    return Call.of(
        keeping.DeleteModelRequest(model=model, force=force),
        read=lambda response: int(response.deleted_versions),
    )


def example_deletion(
    example_id: str, model: str, *, rebuild: bool = False, request_id: str = ""
) -> Call[ErasedExample]:
    """Return the call of EraseExample."""
    return Call.of(
        keeping.EraseExampleRequest(
            example_id=example_id, model=model, rebuild=rebuild, request_id=request_id
        ),
        read=lambda response: decode(response, ErasedExample),
    )


def version_evaluation(target: VersionRef) -> Call[VersionEvaluation]:
    """Return the call of GetEvaluation."""
    return Call.of(
        keeping.GetEvaluationRequest(target=selector(target)),
        read=lambda response: decode(response, VersionEvaluation),
    )


def version_report(target: VersionRef, form: ReportFormat) -> Call[Report]:
    """Return the call of GetReport."""
    if form not in get_args(ReportFormat):
        raise ValueError(f"format must be one of {', '.join(get_args(ReportFormat))}. Received: {form!r}")
    return Call.of(
        keeping.GetReportRequest(target=selector(target), format=f"REPORT_FORMAT_{form.upper()}"),
        read=lambda response: decode(response, Report, model=target.model),
    )


def version_export(target: VersionRef, format: ExportFormat) -> Call[Message]:
    """Return the call of ExportVersion, whose results are its messages."""
    if format not in get_args(ExportFormat):
        raise ValueError(f"format must be one of {', '.join(get_args(ExportFormat))}. Received: {format!r}")
    return Call.of(
        keeping.ExportVersionRequest(target=selector(target), format=f"EXPORT_FORMAT_{format.upper()}"),
        read=lambda response: response,
    )


def health() -> Call[bool]:
    """Return the standard health check of the whole server; its result is true if the server is ready."""
    # These types of protobuf have the wire format of HealthCheckRequest without a service, which is empty,
    # and of HealthCheckResponse, whose only field is an enum of number 1.
    return Call(
        path="/grpc.health.v1.Health/Check",
        request=Empty(),
        response=Int32Value,
        read=lambda response: bool(response.value == _SERVING),
    )
