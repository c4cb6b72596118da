"""Calls about jobs as values, and the cursor that resumes a stream of all jobs after lost connections."""

from collections.abc import Collection
from datetime import timedelta
from typing import TypedDict

from headstart.calls.calls import Call
from headstart.decode import decode
from headstart.encode import gate_message, recipe_message
from headstart.errors import HeadstartError
from headstart.results import JobEvent, WatchedJobs
from headstart.spec import (
    PromotionGate,
    Recipe,
    RecipeName,
    check_names,
    parse_budget,
    parse_candidates,
    parse_recipe,
)
from headstart.transport.retries import Outage, RetryPolicy
from headstart.v1 import fine_tuning_service_pb2 as pb
from headstart.version_ref import VersionRef, parse_version, selector, version_ref


class RebaseSettings(TypedDict, total=False):
    """Settings of a rebase, except version, alias and backbone; all are optional.

    Attributes:
        backbone_candidates: backbones that ``auto`` tries. None: up to 4 of the server's.
        backbone_time_budget: time after which ``auto`` tries no further backbone, a timedelta or seconds.
            None: no limit.
        recipe: as in `SpecSettings`. None: the recipe that the old version was requested with.
        promote_if: margins of the promotion gate. None: the default margins.
        priority: as in `SpecSettings`.
        webhook: as in `SpecSettings`.
    """

    backbone_candidates: Collection[str] | None
    backbone_time_budget: timedelta | float | None
    recipe: Recipe | RecipeName | None
    promote_if: PromotionGate | None
    priority: int
    webhook: str


def rebase(
    model: str,
    settings: RebaseSettings,
    *,
    backbone: str,
    version: int | None,
    alias: str | None,
    request_id: str,
) -> Call[str]:
    """Return the call of Rebase, whose result is the ID of the job."""
    check_names("rebase", settings, RebaseSettings)
    recipe, gate = settings.get("recipe"), settings.get("promote_if")
    if gate is not None and alias is None:
        raise ValueError("promote_if requires an alias. Pass alias='stable', for example.")
    source = parse_version(model)
    if version is not None or source == VersionRef(source.model):
        source = version_ref(model, version, alias if version is None else None)
    request = pb.RebaseRequest(
        source=selector(source),
        alias=alias or "",
        backbone=backbone,
        backbone_candidates=parse_candidates(settings.get("backbone_candidates")),
        recipe=None if recipe is None else recipe_message(parse_recipe(recipe)),
        promote_if=gate_message(gate),
        request_id=request_id,
        priority=settings.get("priority", 0),
        webhook=settings.get("webhook", ""),
    )
    budget = parse_budget(settings.get("backbone_time_budget"))
    if budget is not None:
        request.backbone_time_budget.FromTimedelta(budget)
    return Call.of(request, read=lambda response: str(response.job.job_id))


def job_deletion(job_id: str) -> Call[None]:
    """Return the call of DeleteJob."""
    return Call.of(pb.DeleteJobRequest(job_id=job_id), read=lambda _: None)


def watched_jobs(model: str | None, resume_token: str) -> Call[WatchedJobs]:
    """Return the call of WatchJobs, from a resume token."""
    return Call.of(
        pb.WatchJobsRequest(model=model or "", resume_token=resume_token),
        read=lambda response: decode(response, WatchedJobs),
    )


class JobsCursor:
    """The position of a watcher in the events of all jobs."""

    def __init__(self, model: str | None, resume_token: str, policy: RetryPolicy) -> None:
        self._model = model
        self._token = resume_token
        self._policy = policy
        self._outage = Outage(policy)
        # Events since the last token, which are repeated after a lost connection.
        self._seen: dict[str, int] = {}

    def call(self) -> Call[WatchedJobs]:
        """Return the call that resumes the stream."""
        return watched_jobs(self._model, self._token)

    def accept(self, watched: WatchedJobs) -> JobEvent | None:
        """Record a response; return its event if it is new."""
        self._outage.answered()
        event = watched.event
        is_new = event is not None and event.number > self._seen.get(event.job_id, 0)
        if watched.resume_token:
            self._token = watched.resume_token
            self._seen.clear()
        elif event is not None:
            self._seen[event.job_id] = event.number
        return event if is_new else None

    def ended(self) -> float:
        """Return the seconds to wait after the server ended a stream without an error."""
        self._outage.answered()
        return self._policy.delay(1)

    def interrupted(self, error: HeadstartError) -> float:
        """Return the seconds to wait after a transient error; raise other errors, and after a long outage."""
        return self._outage.interrupted(error)
