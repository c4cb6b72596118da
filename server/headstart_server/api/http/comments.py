"""The comments of the contract's protos, for the OpenAPI document."""

import json
import re
from functools import cache
from importlib import resources

_CODE = re.compile(r"`([A-Za-z0-9_.]+)`")
#: Comments of messages that are not part of the contract.
_OTHERS = {
    "google.rpc.Status": "The error of a failed call.",
    "google.rpc.Status.code": "The gRPC code as a number.",
    "google.rpc.Status.message": "The problem and its remedy, in English.",
    "google.rpc.Status.details": (
        "Details for programs: a `google.rpc.ErrorInfo` with the reason, and if they apply "
        "`google.rpc.BadRequest`, `google.rpc.QuotaFailure` and `google.rpc.RetryInfo`."
    ),
    "grpc.health.v1.Health": "Reports whether the server serves.",
    "grpc.health.v1.Health.Check": "Reports whether the server, or one of its services, serves.",
    "grpc.health.v1.HealthCheckRequest.service": (
        "The full name of a service. Default: the server as a whole."
    ),
    "grpc.health.v1.HealthCheckResponse": "The health of the server or the service.",
    "grpc.health.v1.HealthCheckResponse.status": (
        "The serving status; the HTTP code is 200 if it is SERVING, otherwise 503."
    ),
    "grpc.health.v1.HealthCheckResponse.ServingStatus": "Whether a server or a service serves.",
}


def comment(name: str) -> str:
    """Return the comment of a message, field, enum, value, service or method; empty without one.

    It has the JSON names of fields.

    Args:
        name: the full name, such as `headstart.v1.Job.job_id`.
    """
    text = _OTHERS.get(name) or proto_comment(name)
    return _CODE.sub(lambda match: f"`{_in_json(match[1])}`", text)


def proto_comment(name: str) -> str:
    """Return the comment of a part of the contract in the protos; empty without one."""
    return _comments().get(name, "")


def first_sentence(text: str) -> str:
    """Return the first sentence of a text, without the period."""
    return re.split(r"\.(?:\s|$)", text, maxsplit=1)[0]


@cache
def _comments() -> dict[str, str]:
    found: dict[str, str] = json.loads(
        resources.files(__package__).joinpath("comments.json").read_text(encoding="utf-8")
    )
    return found


@cache
def _fields() -> frozenset[str]:
    names = {name.rpartition(".")[2] for name in _comments()}
    return frozenset(name for name in names if name.islower() and "_" in name)


def _in_json(path: str) -> str:
    known = _fields()
    return ".".join(_camel(part) if part in known else part for part in path.split("."))


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)
