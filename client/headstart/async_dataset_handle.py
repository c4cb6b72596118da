"""The asynchronous handle of a dataset of the server."""

import asyncio
from contextlib import suppress
from typing import Any, TypeVar, Unpack

from headstart.calls import dataset_calls, server_calls
from headstart.calls.calls import Call
from headstart.calls.dataset_calls import DatasetUpload, Outage
from headstart.dataset_handle import DatasetHandle
from headstart.errors import AlreadyExists, HeadstartError, NotFound
from headstart.inputs.examples import Examples, ExampleSettings, open_examples
from headstart.inputs.task import Task, TaskName
from headstart.results import Dataset
from headstart.transport.async_connection import AsyncConnection
from headstart.transport.connection import UploadReport
from headstart.twins import async_iterator, coroutine

__all__ = ["AsyncDatasetHandle"]

Result = TypeVar("Result")
#: Seconds of one call that writes a batch; a batch is a few MiB.
_BATCH_SECONDS = 120.0


class AsyncDatasetHandle:
    """A dataset of the server. Creating a handle sends no call; as `DatasetHandle`.

    Examples:
        >>> await client.dataset("pets-2026").upload("pets/")
        >>> await client.fine_tune(model="pets", dataset="pets-2026")
    """

    get = coroutine(DatasetHandle.get)
    create = coroutine(DatasetHandle.create)
    finish = coroutine(DatasetHandle.finish)
    examples = async_iterator(DatasetHandle.examples)
    content = coroutine(DatasetHandle.content)
    thumbnail = coroutine(DatasetHandle.thumbnail)
    update = coroutine(DatasetHandle.update)
    delete = coroutine(DatasetHandle.delete)

    def __init__(self, connection: AsyncConnection, name: str) -> None:
        self.dataset = name
        self._connection = connection

    def __repr__(self) -> str:
        return f"AsyncDatasetHandle({self.dataset!r})"

    async def upload(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        task: Task | TaskName | None = None,
        finish: bool = True,
        on_upload: UploadReport | None = None,
        **settings: Unpack[ExampleSettings],
    ) -> Dataset:
        """Upload examples to the dataset, and create it if necessary; as `DatasetHandle.upload`."""
        source = await asyncio.to_thread(open_examples, examples, y, task=task, settings=settings)
        outage = Outage(self._connection.settings.retries)
        dataset = await self._existing(outage)
        info = await self._persist(server_calls.server_info(), outage)
        upload = DatasetUpload(dataset, source, info.limits.message_bytes)
        calls = upload.calls()
        while (call := await asyncio.to_thread(next, calls, None)) is not None:
            if on_upload is not None:
                on_upload(upload.sent, upload.total)
            await self._persist(call, outage)
        if on_upload is not None:
            on_upload(upload.sent, upload.total)
        last = dataset_calls.dataset_finish(self.dataset, None)
        return await self._persist(last if finish else dataset_calls.get_dataset(self.dataset), outage)

    async def _existing(self, outage: Outage) -> Dataset:
        """Return the dataset; create it if it does not exist."""
        while True:
            try:
                return await self._persist(dataset_calls.get_dataset(self.dataset), outage)
            except NotFound:
                # It exists if another process, or an attempt of this one whose answer was lost, created it.
                with suppress(AlreadyExists):
                    return await self._persist(dataset_calls.dataset_creation(self.dataset, {}), outage)

    async def _persist(self, call: Call[Result], outage: Outage) -> Result:
        """Send a call until a server answers, or the outage is too long."""
        while True:
            try:
                result = await self._connection.send(call, _BATCH_SECONDS)
            except HeadstartError as error:
                await asyncio.sleep(outage.interrupted(error))
            else:
                outage.answered()
                return result
