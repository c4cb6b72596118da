"""Conversions between requests about versions and models and the values of the registry."""

from collections.abc import Collection, Iterable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from headstart.v1 import model_pb2
from headstart.v1 import model_service_pb2 as pb
from headstart_server.api.grpc.messages.captures import capture_policy_of
from headstart_server.api.grpc.messages.models import version_message
from headstart_server.api.grpc.messages.retraining import policy_of
from headstart_server.api.grpc.messages.times import optional_seconds
from headstart_server.errors import InvalidField
from headstart_server.models.updates import Expiration
from headstart_server.models.version import Version
from headstart_server.models.version_list import VersionFilter

_DETAILS = ("display_name", "description", "tags")
_EXPIRATION, _CAPTURE, _RETRAIN = "expiration", "capture", "retrain"


def filter_of(message: pb.VersionFilter) -> VersionFilter:
    """Return the filter of a message."""
    return VersionFilter(
        tags=dict(message.tags),
        alias=message.alias,
        backbone=message.backbone,
        created_after=_optional_time(message, "created_after"),
        created_before=_optional_time(message, "created_before"),
    )


def is_full(request: pb.GetVersionRequest | pb.ListVersionsRequest, *, default: bool) -> bool:
    """Return whether a request's view is FULL. Raise InvalidField if the view is unknown."""
    if not request.HasField("view"):
        return default
    if request.view not in (pb.VERSION_VIEW_BASIC, pb.VERSION_VIEW_FULL):
        raise InvalidField(f"The view {request.view} is unknown. Use BASIC or FULL.", field="view")
    return request.view == pb.VERSION_VIEW_FULL


def viewed_message(version: Version, *, full: bool) -> model_pb2.Version:
    """Return the message of a version, in full or without confusion matrices."""
    message = version_message(version)
    if not full:
        message.metrics.ClearField("confusion")
    return message


def details_of(request: pb.UpdateVersionRequest | pb.UpdateModelRequest) -> dict[str, Any]:
    """Return the new details that a request names in its mask."""
    is_model = isinstance(request, pb.UpdateModelRequest)
    paths = request.update_mask.paths
    check_mask(paths, (*_DETAILS, *((_CAPTURE, _RETRAIN) if is_model else (_EXPIRATION,))))
    values: dict[str, Any] = {"display_name": request.display_name, "description": request.description}
    if isinstance(request, pb.UpdateModelRequest) and _CAPTURE in paths:
        values[_CAPTURE] = capture_policy_of(request.capture) if request.HasField(_CAPTURE) else None
    if isinstance(request, pb.UpdateModelRequest) and _RETRAIN in paths:
        values[_RETRAIN] = policy_of(request.retrain) if request.HasField(_RETRAIN) else None
    check_tags(request.tags)
    return {
        name: dict(request.tags) if name == "tags" else values[name]
        for name in request.update_mask.paths
        if name != _EXPIRATION
    }


def expiration_of(request: pb.UpdateVersionRequest) -> Expiration | None:
    """Return the new expiration of a version; None if the mask does not name it."""
    if _EXPIRATION not in request.update_mask.paths:
        return None
    return Expiration(time=_optional_time(request, "expire_time"), ttl=optional_seconds(request, "ttl"))


def check_tags(tags: Iterable[str]) -> None:
    """Check the keys of tags. Raise InvalidField if a key is empty."""
    if not all(tags):
        raise InvalidField("A tag has no key. Give each tag a key.", field="tags")


def check_mask(paths: Collection[str], known: Collection[str]) -> None:
    """Check that a mask names at least one field, and only fields that can be changed."""
    if not paths:
        raise InvalidField(
            f"The update_mask names no field. Name those to change: {', '.join(known)}.", field="update_mask"
        )
    for path in paths:
        if path not in known:
            raise InvalidField(
                f"The update_mask names {path[:80]!r}, which cannot be changed. Name some of "
                f"{', '.join(known)}.",
                field="update_mask",
            )


def _optional_time(message: Any, name: str) -> float | None:
    """Return the time in a field in seconds since 1970; None if it is unset."""
    if not message.HasField(name):
        return None
    time: Timestamp = getattr(message, name)
    return time.seconds + time.nanos / 1e9
