"""Handles of a dataset of the server."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, Unpack

from headstart.calls import dataset_calls, example_calls, server_calls
from headstart.calls.calls import Call
from headstart.calls.dataset_calls import DatasetUpload
from headstart.calls.example_calls import ExampleKey, ExampleQuery, ThumbnailSize
from headstart.calls.model_calls import Details
from headstart.errors import AlreadyExists, HeadstartError, NotFound
from headstart.inputs.examples import Examples, ExampleSettings, ExampleSource, open_examples
from headstart.inputs.task import Task, TaskName
from headstart.results import Dataset, ExampleContent, ExampleRecord
from headstart.transport.connection import Connection, Exchange
from headstart.transport.retries import Outage
from headstart.transport.upload import UploadReport
from headstart.twins import async_iterator, coroutine

Result = TypeVar("Result")
#: Seconds of one call that writes a batch; a batch is a few MiB.
_BATCH_SECONDS = 120.0


class DatasetHandle:
    """A dataset of the server. Creating a handle sends no call.

    Examples:
        >>> client.dataset("pets-2026").upload("pets/")
        >>> client.fine_tune(model="pets", dataset="pets-2026")
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.dataset = name
        self._connection = connection

    def __repr__(self) -> str:
        return f"DatasetHandle({self.dataset!r})"

    def get(self) -> Dataset:
        """Return the dataset.

        Raises:
            NotFound: the dataset does not exist.
        """
        return self._connection.send(dataset_calls.get_dataset(self.dataset))

    def create(self, **details: Unpack[Details]) -> Dataset:
        """Create the dataset, without examples. `upload` creates it, too.

        Args:
            **details: its ``display_name``, ``description`` and ``tags``.

        Raises:
            AlreadyExists: a dataset of this name exists.
            InvalidArgument: the name or a detail is invalid.
        """
        return self._connection.send(dataset_calls.dataset_creation(self.dataset, details))

    def upload(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        task: Task | TaskName | None = None,
        finish: bool = True,
        on_upload: UploadReport | None = None,
        **settings: Unpack[ExampleSettings],
    ) -> Dataset:
        """Upload examples to the dataset, which is created if it does not exist.

        Examples are sent in batches of up to 8 MiB, each of which is stored when the server has answered. The
        upload continues by itself after a lost connection. If this process ends, call it again with the same
        examples: it continues after the last stored batch.

        Args:
            examples: as in `Client.fine_tune`.
            y: as in `Client.fine_tune`.
            task: as in `Client.evaluate`.
            finish: False leaves the dataset open. A later call must have these examples first.
            on_upload: called with the number of examples that the server has and their total, None if it is
                unknown.
            **settings: see `ExampleSettings`.

        Raises:
            InvalidArgument: an example is invalid.
            Aborted: another client uploads other examples to the dataset.
            ResourceExhausted: the dataset is too large, or the tenant stores as much as it may.
            Unavailable: no server answered for `RetryPolicy.outage_seconds`.
            OSError or TypeError: as in `Client.fine_tune`.
            ValueError: the dataset has other examples; or as in `Client.fine_tune`.
        """
        opened = partial(open_examples, examples, y, task=task, settings=settings)
        uploading = _Uploading(self._connection.exchange, self.dataset)
        return self._connection.finish(uploading.run(opened, on_upload, finish=finish))

    def finish(self, example_count: int | None = None) -> Dataset:
        """End the upload: the dataset is ready to be used, and its examples never change again.

        Args:
            example_count: the number of examples that it must have. None: any.

        Raises:
            NotFound: the dataset does not exist.
            FailedPrecondition: it has another number of examples.
            InvalidArgument: it has no examples.
        """
        return self._connection.send(dataset_calls.dataset_finish(self.dataset, example_count))

    def examples(self, **query: Unpack[ExampleQuery]) -> Iterator[ExampleRecord]:
        """Yield the examples of the dataset. Pages are requested as needed.

        Args:
            **query: conditions on the examples, and their order. Predictions and findings belong to versions.

        Raises:
            NotFound: the dataset does not exist.
            InvalidArgument: a condition needs a version.
        """
        return self._connection.pages(partial(example_calls.example_list, self.dataset, query))

    def content(self, example: ExampleKey) -> ExampleContent:
        """Return the content of an example; as `Client.example_content`."""
        return self._connection.send(example_calls.example_content(self.dataset, example))

    def thumbnail(self, example: ExampleKey, size: ThumbnailSize = 128) -> ExampleContent:
        """Return a thumbnail of an example; as `Client.example_thumbnail`."""
        return self._connection.send(example_calls.example_content(self.dataset, example, size))

    def update(self, **details: Unpack[Details]) -> Dataset:
        """Update the details of the dataset. Omitted values stay unchanged.

        Args:
            **details: the new ``display_name``, ``description`` and ``tags``.

        Raises:
            NotFound: the dataset does not exist.
            ValueError: no change is given.
        """
        return self._connection.send(dataset_calls.dataset_change(self.dataset, details))

    def delete(self, *, etag: str | None = None) -> None:
        """Delete the dataset. Jobs and versions that use its examples keep them.

        Args:
            etag: the etag that the dataset must have. None: any.

        Raises:
            NotFound: the dataset does not exist.
            Aborted: the dataset was changed since its etag was read.
        """
        return self._connection.send(dataset_calls.dataset_deletion(self.dataset, etag))


class _Uploading:
    """An upload, which continues when a server answers again."""

    def __init__(self, exchange: Exchange, dataset: str) -> None:
        self._exchange = exchange
        self._dataset = dataset
        self._outage = Outage(exchange.settings.retries)

    async def run(
        self, opened: Callable[[], ExampleSource], report: UploadReport | None, *, finish: bool
    ) -> Dataset:
        """Open the examples and send those that the dataset lacks."""
        source = await self._exchange.wire.in_thread(opened)
        dataset = await self._existing()
        info = await self._persist(server_calls.server_info())
        upload = DatasetUpload(dataset, source, info.limits.message_bytes)
        calls = upload.calls()
        while (call := await self._exchange.wire.in_thread(next, calls, None)) is not None:
            if report is not None:
                report(upload.sent, upload.total)
            await self._persist(call)
        if report is not None:
            report(upload.sent, upload.total)
        last = dataset_calls.dataset_finish(self._dataset, None)
        return await self._persist(last if finish else dataset_calls.get_dataset(self._dataset))

    async def _existing(self) -> Dataset:
        """Return the dataset; create it if it does not exist."""
        while True:
            try:
                return await self._persist(dataset_calls.get_dataset(self._dataset))
            except NotFound:
                # It exists if another process, or an attempt of this one whose answer was lost, created it.
                with suppress(AlreadyExists):
                    return await self._persist(dataset_calls.dataset_creation(self._dataset, {}))

    async def _persist(self, call: Call[Result]) -> Result:
        """Send a call until a server answers, or the outage is too long."""
        while True:
            try:
                result = await self._exchange.send(call, _BATCH_SECONDS)
            except HeadstartError as error:
                await self._exchange.wire.pause(self._outage.interrupted(error))
            else:
                self._outage.answered()
                return result


class AsyncDatasetHandle:
    """A dataset of the server. Creating a handle sends no call; as `DatasetHandle`.

    Examples:
        >>> await client.dataset("pets-2026").upload("pets/")
        >>> await client.fine_tune(model="pets", dataset="pets-2026")
    """

    get = coroutine(DatasetHandle.get)
    create = coroutine(DatasetHandle.create)
    upload = coroutine(DatasetHandle.upload)
    finish = coroutine(DatasetHandle.finish)
    examples = async_iterator(DatasetHandle.examples)
    content = coroutine(DatasetHandle.content)
    thumbnail = coroutine(DatasetHandle.thumbnail)
    update = coroutine(DatasetHandle.update)
    delete = coroutine(DatasetHandle.delete)

    def __init__(self, connection: Connection, name: str) -> None:
        self.dataset = name
        self._connection = connection

    def __repr__(self) -> str:
        return f"AsyncDatasetHandle({self.dataset!r})"
