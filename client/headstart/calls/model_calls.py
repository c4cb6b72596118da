"""Calls that read and update versions and models, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, TypedDict

from headstart.calls.calls import Call, Page, page_of
from headstart.decode import decode
from headstart.encode import encode
from headstart.results import AliasEvent, CapturePolicy, Model, RetrainPolicy, Traffic, Version
from headstart.spec import check_time
from headstart.v1 import capture_policy_pb2, retrain_policy_pb2
from headstart.v1 import model_service_pb2 as pb
from headstart.version_ref import VersionRef, selector

PAGE_SIZE = 100

VersionView: TypeAlias = Literal["basic", "full"]
"""The view of a version: ``full``, or without confusion matrices."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionQuery:
    """The filter, order and view of a list of versions."""

    tags: Mapping[str, str] = field(default_factory=dict)
    alias: str | None = None
    backbone: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    order_by: str = ""
    view: VersionView = "basic"

    def __post_init__(self) -> None:
        for name in ("created_after", "created_before"):
            if (time := getattr(self, name)) is not None:
                check_time(name, time)

    def filter(self) -> pb.VersionFilter:
        """Return the filter as a message."""
        return pb.VersionFilter(
            tags=self.tags,
            alias=self.alias or "",
            backbone=self.backbone or "",
            created_after=self.created_after,
            created_before=self.created_before,
        )


class Details(TypedDict, total=False):
    """Details for people of a version or a model; tags replace all earlier ones."""

    display_name: str
    description: str
    tags: Mapping[str, str]


class ModelDetails(Details, total=False):
    """Details and policies of a model; a policy of None is removed."""

    capture: CapturePolicy | None
    retrain: RetrainPolicy | None


def version_change(
    model: str,
    version: int,
    details: Details,
    *,
    expire_time: datetime | Literal["never"] | None,
    ttl: timedelta | None,
) -> Call[Version]:
    """Return the call that updates a version."""
    if expire_time is not None and ttl is not None:
        raise ValueError(f"Give expire_time or ttl, not both. Received: {expire_time!r} and {ttl!r}")
    expires = expire_time is not None or ttl is not None
    if not details and not expires:
        raise ValueError("The update is empty. Pass display_name, description, tags, expire_time or ttl.")
    time = None if expire_time == "never" else expire_time
    if time is not None:
        check_time("expire_time", time)
    return version_update(model, version, details, expires=expires, expire_time=time, ttl=ttl)


def model_change(model: str, details: ModelDetails) -> Call[Model]:
    """Return the call that updates a model."""
    if not details:
        raise ValueError("The update is empty. Pass display_name, description, tags, capture or retrain.")
    changes: dict[str, Any] = {**details}
    if (policy := details.get("capture")) is not None:
        changes["capture"] = capture_policy_pb2.CapturePolicy(
            **{each.name: getattr(policy, each.name) for each in fields(policy)}
        )
    if (retrain := details.get("retrain")) is not None:
        changes["retrain"] = encode(retrain, retrain_policy_pb2.RetrainPolicy())
    return model_update(model, changes)


def get_model(model: str) -> Call[Model]:
    """Return the call of GetModel."""
    return Call.of(pb.GetModelRequest(model=model), read=lambda response: decode(response.model, Model))


def get_version(version: VersionRef) -> Call[Version]:
    """Return the call of GetVersion."""
    return Call.of(
        pb.GetVersionRequest(target=selector(version)),
        read=lambda response: decode(response.version, Version),
    )


def version_list(
    model: str, query: VersionQuery, token: str, *, size: int = PAGE_SIZE
) -> Call[Page[Version]]:
    """Return the call of ListVersions."""
    return Call.of(
        pb.ListVersionsRequest(
            model=model,
            filter=query.filter(),
            order_by=query.order_by,
            view=f"VERSION_VIEW_{query.view.upper()}",
            page_size=size,
            page_token=token,
        ),
        read=lambda response: page_of(response, response.versions, Version),
    )


def alias_event_list(model: str, alias: str | None, token: str) -> Call[Page[AliasEvent]]:
    """Return the call of ListAliasEvents."""
    return Call.of(
        pb.ListAliasEventsRequest(model=model, alias=alias or "", page_size=PAGE_SIZE, page_token=token),
        read=lambda response: page_of(response, response.events, AliasEvent),
    )


def traffic(model: str, version: int | None, window: timedelta | None) -> Call[Traffic]:
    """Return the call of GetTraffic."""
    return Call.of(
        pb.GetTrafficRequest(model=model, version=version, window_duration=window),
        read=lambda response: decode(response, Traffic),
    )


def version_update(
    model: str,
    version: int,
    changes: Mapping[str, Any],
    *,
    expires: bool,
    expire_time: datetime | None,
    ttl: timedelta | None,
) -> Call[Version]:
    """Return the call of UpdateVersion, with the changed fields in its mask."""
    request = pb.UpdateVersionRequest(
        model=model, version=version, **changes, expire_time=expire_time, ttl=ttl
    )
    request.update_mask.paths.extend([*changes, *(["expiration"] if expires else [])])
    return Call.of(request, read=lambda response: decode(response.version, Version))


def model_update(model: str, changes: Mapping[str, Any]) -> Call[Model]:
    """Return the call of UpdateModel."""
    request = pb.UpdateModelRequest(model=model, **changes)
    request.update_mask.paths.extend(changes)
    return Call.of(request, read=lambda response: decode(response.model, Model), repeatable=True)
