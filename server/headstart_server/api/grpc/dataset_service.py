"""DatasetService: named datasets, and writing examples to them."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from headstart.inputs.checksum import checksum_after
from headstart.v1 import dataset_service_pb2 as pb
from headstart.v1 import dataset_service_pb2_grpc as stubs
from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.caller import scope, tenant
from headstart_server.api.grpc.executors import BoundedExecutor
from headstart_server.api.grpc.messages.common import examples_of, page_key, page_token
from headstart_server.api.grpc.messages.datasets import (
    changed_details_of,
    dataset_message,
    new_details_of,
)
from headstart_server.api.grpc.messages.pages import page_of, page_size_of
from headstart_server.auth.permissions import Right
from headstart_server.auth.tenants import full_name, own_name
from headstart_server.datasets.batch_writer import BatchRequest, BatchWriter
from headstart_server.datasets.dataset_catalog import DatasetCatalog
from headstart_server.datasets.named_dataset import NamedDataset

_Response = TypeVar(
    "_Response",
    pb.CreateDatasetResponse,
    pb.WriteExamplesResponse,
    pb.FinishDatasetResponse,
    pb.GetDatasetResponse,
    pb.UpdateDatasetResponse,
)


class DatasetService(stubs.DatasetServiceServicer):
    """Decodes, calls and encodes; all work is the `datasets` room's.

    Args:
        retention: seconds that an open dataset is kept after its last batch; None for ever.
    """

    def __init__(
        self,
        catalog: DatasetCatalog,
        batches: BatchWriter,
        *,
        uploads: BoundedExecutor,
        removals: BoundedExecutor,
        retention: float | None,
    ) -> None:
        self._catalog = catalog
        self._batches = batches
        self._uploads = uploads
        self._removals = removals
        self._retention = retention

    async def CreateDataset(
        self, request: pb.CreateDatasetRequest, context: Context
    ) -> pb.CreateDatasetResponse:
        create = partial(self._catalog.create, request.dataset, new_details_of(request))
        return await self._in_thread(create, pb.CreateDatasetResponse)

    async def WriteExamples(
        self, request: pb.WriteExamplesRequest, context: Context
    ) -> pb.WriteExamplesResponse:
        def write() -> pb.WriteExamplesResponse:
            messages = request.examples.examples
            batch = BatchRequest(
                dataset=request.dataset,
                number=request.batch,
                examples=examples_of(messages, 0),
                checksum=lambda before: checksum_after(before, messages),
                expected=request.sha256,
            )
            return self._response(self._batches.write(batch), pb.WriteExamplesResponse)

        return await self._uploads.run(write)

    async def FinishDataset(
        self, request: pb.FinishDatasetRequest, context: Context
    ) -> pb.FinishDatasetResponse:
        count = request.example_count if request.HasField("example_count") else None
        finish = partial(self._catalog.finish, request.dataset, count)
        return await self._in_thread(finish, pb.FinishDatasetResponse)

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Context) -> pb.GetDatasetResponse:
        return await self._in_thread(partial(self._catalog.get, request.dataset), pb.GetDatasetResponse)

    async def ListDatasets(
        self, request: pb.ListDatasetsRequest, context: Context
    ) -> pb.ListDatasetsResponse:
        key = page_key(request.page_token, str)
        owner, permitted = tenant(), scope(Right.TRAIN)

        def fetch(after: list[Any] | None, limit: int) -> Sequence[NamedDataset]:
            # Callers can read page tokens, so these have names without the tenant.
            name = full_name(owner, after[0]) if after else ""
            return self._catalog.listed(after=name, limit=limit, scope=permitted)

        datasets, last = await asyncio.to_thread(
            page_of,
            fetch,
            partial(dataset_message, retention=self._retention),
            lambda dataset: [own_name(dataset.name)],
            after=key,
            size=page_size_of(request.page_size),
        )
        return pb.ListDatasetsResponse(datasets=datasets, next_page_token=page_token(last))

    async def UpdateDataset(
        self, request: pb.UpdateDatasetRequest, context: Context
    ) -> pb.UpdateDatasetResponse:
        update = partial(self._catalog.update, request.dataset, changed_details_of(request))
        return await self._in_thread(update, pb.UpdateDatasetResponse)

    async def DeleteDataset(
        self, request: pb.DeleteDatasetRequest, context: Context
    ) -> pb.DeleteDatasetResponse:
        await self._removals.run(self._catalog.delete, request.dataset, request.etag)
        return pb.DeleteDatasetResponse()

    async def _in_thread(self, work: Callable[[], NamedDataset], make: Callable[..., _Response]) -> _Response:
        return await asyncio.to_thread(lambda: self._response(work(), make))

    def _response(self, dataset: NamedDataset, make: Callable[..., _Response]) -> _Response:
        return make(dataset=dataset_message(dataset, self._retention))
