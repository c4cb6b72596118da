"""What the contract's protos say of each of their parts, for the OpenAPI document."""

import json
import re
from functools import cache
from importlib import resources

_CODE = re.compile(r"`([A-Za-z0-9_.]+)`")
#: Of parts that are no part of the contract.
_OTHERS = {
    "google.rpc.Status": "Why a call failed.",
    "google.rpc.Status.code": "The code of gRPC, as a number.",
    "google.rpc.Status.message": "What was expected, what was received, and what to do, in English.",
    "google.rpc.Status.details": (
        "More for programs: a `google.rpc.ErrorInfo` with the reason, and where they apply "
        "`google.rpc.BadRequest`, `google.rpc.QuotaFailure` and `google.rpc.RetryInfo`."
    ),
    "grpc.health.v1.Health": "Reports whether the server serves.",
    "grpc.health.v1.Health.Check": "Reports whether the server, or one of its services, serves.",
    "grpc.health.v1.HealthCheckRequest.service": (
        "The full name of a service. Default: the server as a whole."
    ),
    "grpc.health.v1.HealthCheckResponse": "Whether it serves.",
    "grpc.health.v1.HealthCheckResponse.status": "Whether it serves; the code of the answer says the same.",
    "grpc.health.v1.HealthCheckResponse.ServingStatus": "Whether a server or a service serves.",
}


def comment(name: str) -> str:
    """What is said of a message, field, enum, value, service or method; empty if nothing.

    Names of fields in it are those of the JSON.

    Args:
        name: the full name, such as `headstart.v1.Job.job_id`.
    """
    text = _OTHERS.get(name) or proto_comment(name)
    return _CODE.sub(lambda match: f"`{_in_json(match[1])}`", text)


def proto_comment(name: str) -> str:
    """Return the comment of a part of the contract as it is in the protos; empty if it has none."""
    return _comments().get(name, "")


def first_sentence(text: str) -> str:
    """A text up to the end of its first sentence, without the full stop."""
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
