"""Recorder of responses, so that --json prints the server's documents."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import grpc
from google.protobuf.message import Message

from headstart.protojson import to_dict
from headstart.v1.model_service_pb2 import ExportVersionResponse
from headstart.v1.prediction_service_pb2 import EmbedResponse


class Recorder(
    grpc.UnaryUnaryClientInterceptor, grpc.StreamUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor
):
    """An interceptor that stores responses by method.

    It joins the pages of a list and the features of several calls, and keeps the last message of a stream and
    the header of an export.
    """

    def __init__(self) -> None:
        self._responses: dict[str, Message] = {}

    def response(self, method: str, limit: int | None = None) -> dict[str, Any]:
        """Return the JSON document of the responses of a method, such as ``ListModels``.

        A `limit` truncates the lists of the document.
        """
        document = to_dict(self._responses[method])
        return {name: value[:limit] if isinstance(value, list) else value for name, value in document.items()}

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Record the response of a call."""
        return _Observed(continuation(details, request), self._record_of(details, request))

    def intercept_stream_unary(self, continuation: Any, details: Any, request_iterator: Any) -> Any:
        """Record the response of an upload."""
        return _Observed(continuation(details, request_iterator), self._record_of(details, None))

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        """Record the messages of a stream."""
        return _Observed(continuation(details, request), self._record_of(details, None))

    def _record_of(self, details: Any, request: Any) -> Callable[[Message], None]:
        method = details.method.rpartition("/")[2]
        is_further_page = bool(getattr(request, "page_token", ""))

        def record(response: Message) -> None:
            if is_further_page and method in self._responses:
                pages: Any = self._responses[method]
                pages.MergeFrom(response)
                if not getattr(response, "next_page_token", ""):
                    pages.ClearField("next_page_token")
            elif isinstance(response, EmbedResponse) and method in self._responses:
                _join_features(cast(EmbedResponse, self._responses[method]), response)
            elif not isinstance(response, ExportVersionResponse) or response.HasField("header"):
                self._responses[method] = response

        return record


def _join_features(joined: EmbedResponse, response: EmbedResponse) -> None:
    first = 0
    for view, tensor in response.features.views.items():
        before = joined.features.views[view]
        if not (before.shape and tensor.shape):
            continue  # the client refuses the response
        first = before.shape[0]
        before.data += tensor.data
        before.shape[0] += tensor.shape[0]
    for index, truncation in response.truncation.items():
        joined.truncation[first + index].CopyFrom(truncation)
    joined.ClearField("times")


class _Observed:
    """A call whose results are recorded before the caller receives them."""

    def __init__(self, call: Any, record: Callable[[Message], None]) -> None:
        self._call = call
        self._record = record

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def result(self, timeout: float | None = None) -> Any:
        response = self._call.result(timeout)
        self._record(response)
        return response

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        response = next(self._call)
        self._record(response)
        return response
