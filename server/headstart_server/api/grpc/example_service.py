"""ExampleService: the examples of versions and datasets."""

from dataclasses import replace
from typing import Any

from headstart.v1 import example_service_pb2 as pb
from headstart.v1 import example_service_pb2_grpc as stubs
from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.executors import BoundedExecutor
from headstart_server.api.grpc.messages.common import page_key, page_token, selector_of
from headstart_server.api.grpc.messages.examples import (
    example_filter_of,
    is_by_suspicion,
    map_message,
    record_message,
)
from headstart_server.api.grpc.messages.pages import page_of, page_size_of
from headstart_server.datasets.example_index import ListedExample
from headstart_server.datasets.example_reader import ExampleReader, ExampleSource
from headstart_server.errors import InvalidField


class ExampleService(stubs.ExampleServiceServicer):
    """Decodes, calls and encodes; all work is the `datasets` room's."""

    def __init__(self, reader: ExampleReader, executor: BoundedExecutor) -> None:
        self._reader = reader
        self._executor = executor

    async def ListExamples(
        self, request: pb.ListExamplesRequest, context: Context
    ) -> pb.ListExamplesResponse:
        return await self._executor.run(self._list, request)

    async def GetExampleContent(
        self, request: pb.GetExampleContentRequest, context: Context
    ) -> pb.GetExampleContentResponse:
        return await self._executor.run(self._content, request)

    async def GetExampleMap(
        self, request: pb.GetExampleMapRequest, context: Context
    ) -> pb.GetExampleMapResponse:
        return await self._executor.run(self._map, request)

    def _list(self, request: pb.ListExamplesRequest) -> pb.ListExamplesResponse:
        condition, by_suspicion = example_filter_of(request.filter), is_by_suspicion(request.order_by)
        key = page_key(request.page_token, int, int)
        number, start = key or (0, 0)
        if min(number, start) < 0:
            raise InvalidField("The page_token is invalid. Use a next_page_token.", field="page_token")
        source = self._source(request, number)
        selected = source.index.select(condition, by_suspicion=by_suspicion).tolist()

        def fetch(after: list[Any] | None, limit: int) -> list[tuple[int, ListedExample, bool]]:
            begin = start + request.skip if after == key else (after or [0, 0])[1]
            listed = self._reader.listed(source, selected[begin : begin + limit])
            return [(begin + place, *each) for place, each in enumerate(listed, start=1)]

        shown = 0 if source.version is None else source.version.number
        examples, last = page_of(
            fetch,
            lambda each: record_message(source, each[1], has_content=each[2]),
            lambda each: [shown, each[0]],
            after=key,
            size=page_size_of(request.page_size),
        )
        response = pb.ListExamplesResponse(
            examples=examples, next_page_token=page_token(last), example_count=len(selected)
        )
        if source.version is not None:
            response.version.model, response.version.version = source.version.model, source.version.number
        return response

    def _content(self, request: pb.GetExampleContentRequest) -> pb.GetExampleContentResponse:
        kind = request.WhichOneof("example")
        found = self._reader.content(
            self._source(request),
            example_id=request.example_id,
            index=request.index if kind == "index" else None,
            side=request.thumbnail_size if request.HasField("thumbnail_size") else None,
        )
        return pb.GetExampleContentResponse(
            content=found.content, media_type=found.media_type, etag=found.etag
        )

    def _map(self, request: pb.GetExampleMapRequest) -> pb.GetExampleMapResponse:
        source = self._reader.version(selector_of(request.version, "version"))
        return map_message(source, self._reader.positions(source))

    def _source(
        self, request: pb.ListExamplesRequest | pb.GetExampleContentRequest, number: int = 0
    ) -> ExampleSource:
        """Return the source of a request; `number` is the version of the page before."""
        kind = request.WhichOneof("source")
        if kind == "version":
            selector = selector_of(request.version, "version")
            if number:
                selector = replace(selector, number=number, alias=None)
            return self._reader.version(selector)
        if kind == "dataset":
            return self._reader.dataset(request.dataset)
        raise InvalidField("The source is missing. Set version or dataset.", field="version")
