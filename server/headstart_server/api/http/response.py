"""HTTP responses; errors are a `google.rpc.Status` with the HTTP code of their gRPC code."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from google.rpc import code_pb2, error_details_pb2, status_pb2

from headstart_server.api.http.body import SLOW_BODY
from headstart_server.api.http.messages import json_of

JSON = "application/json"
#: The HTTP code of each gRPC code, as documented at `google.rpc.Code`.
HTTP_CODES: Mapping[int, int] = {
    code_pb2.OK: 200,
    code_pb2.CANCELLED: 499,
    code_pb2.UNKNOWN: 500,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.ABORTED: 409,
    code_pb2.OUT_OF_RANGE: 400,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.INTERNAL: 500,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.DATA_LOSS: 500,
}
#: Reasons whose default code would make a client retry the same request, which does not help.
_TOO_LARGE = frozenset({"MESSAGE_TOO_LARGE", "DATASET_TOO_LARGE"})


def http_code(code: int, reason: str) -> int:
    """Return the HTTP status of a gRPC code and an error reason."""
    return 413 if reason in _TOO_LARGE else HTTP_CODES.get(code, 500)


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpResponse:
    """A complete response."""

    code: int = 200
    content: bytes = b""
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpError(Exception):
    """The error of a request that matches no call, such as one with an unknown path."""

    def __init__(
        self, code: int, grpc_code: int, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.answer = error_response(
            status_pb2.Status(code=grpc_code, message=message), code=code, headers=headers
        )


def error_response(
    status: status_pb2.Status, *, code: int | None = None, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Return the response of an error, by default with the HTTP code of its status."""
    fields = dict(headers or {})
    for packed in status.details:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if packed.Unpack(retry):
            seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            fields["retry-after"] = str(max(1, math.ceil(seconds)))
        elif code is None and packed.Unpack(info):
            slow = info.metadata.get("subject") == SLOW_BODY
            code = 408 if slow else http_code(status.code, info.reason)
    if status.code == code_pb2.UNAVAILABLE:
        fields.setdefault("retry-after", "1")
    if status.code == code_pb2.UNAUTHENTICATED:
        fields["www-authenticate"] = "Bearer"
    return HttpResponse(code=code or http_code(status.code, ""), content=json_of(status), headers=fields)
