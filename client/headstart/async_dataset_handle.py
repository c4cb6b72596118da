"""The asynchronous handle of a dataset of the server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, Unpack

from headstart.calls import dataset_calls, example_calls, server_calls
from headstart.calls.calls import Call
from headstart.calls.dataset_calls import DatasetUpload, Outage
from headstart.calls.example_calls import ExampleKey, ExampleQuery, ThumbnailSize
from headstart.calls.model_calls import Details
from headstart.errors import AlreadyExists, HeadstartError, NotFound
from headstart.inputs.examples import Examples, ExampleSettings, open_examples
from headstart.inputs.task import Task, TaskName
from headstart.results import Dataset, ExampleContent, ExampleRecord
from headstart.transport.async_connection import AsyncConnection
from headstart.transport.connection import UploadReport

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

    def __init__(self, connection: AsyncConnection, name: str) -> None:
        self.dataset = name
        self._connection = connection

    def __repr__(self) -> str:
        return f"AsyncDatasetHandle({self.dataset!r})"

    async def get(self) -> Dataset:
        """Return the dataset; as `DatasetHandle.get`."""
        return await self._connection.send(dataset_calls.get_dataset(self.dataset))

    async def create(self, **details: Unpack[Details]) -> Dataset:
        """Create the dataset, without examples; as `DatasetHandle.create`."""
        return await self._connection.send(dataset_calls.dataset_creation(self.dataset, details))

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

    async def finish(self, example_count: int | None = None) -> Dataset:
        """End the upload; as `DatasetHandle.finish`."""
        return await self._connection.send(dataset_calls.dataset_finish(self.dataset, example_count))

    def examples(self, **query: Unpack[ExampleQuery]) -> AsyncIterator[ExampleRecord]:
        """Yield the examples of the dataset; as `DatasetHandle.examples`."""
        return self._connection.pages(partial(example_calls.example_list, self.dataset, query))

    async def content(self, example: ExampleKey) -> ExampleContent:
        """Return the content of an example; as `Client.example_content`."""
        return await self._connection.send(example_calls.example_content(self.dataset, example))

    async def thumbnail(self, example: ExampleKey, size: ThumbnailSize = 128) -> ExampleContent:
        """Return a thumbnail of an example; as `Client.example_thumbnail`."""
        return await self._connection.send(example_calls.example_content(self.dataset, example, size))

    async def update(self, **details: Unpack[Details]) -> Dataset:
        """Update the details of the dataset; as `DatasetHandle.update`."""
        return await self._connection.send(dataset_calls.dataset_change(self.dataset, details))

    async def delete(self, *, etag: str | None = None) -> None:
        """Delete the dataset; as `DatasetHandle.delete`."""
        await self._connection.send(dataset_calls.dataset_deletion(self.dataset, etag))
