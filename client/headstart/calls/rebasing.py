"""The settings and the call of a rebase."""

from collections.abc import Collection
from datetime import timedelta
from typing import TypedDict

from headstart.calls.calls import Call
from headstart.encode import gate_message, recipe_message
from headstart.spec import (
    PromotionGate,
    Recipe,
    RecipeName,
    check_names,
    parse_budget,
    parse_candidates,
    parse_recipe,
)
from headstart.v1 import fine_tuning_service_pb2 as pb
from headstart.version_ref import VersionRef, parse_version, selector, version_ref

__all__ = ["RebaseSettings", "rebase"]


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
    return Call(
        path="/headstart.v1.FineTuningService/Rebase",
        request=request,
        response=pb.RebaseResponse,
        read=lambda response: str(response.job.job_id),
    )
