"""Calls of DatasetService as values, and an upload that continues after the last stored batch."""

from collections.abc import Iterator

from headstart.calls.calls import Call, Page, page_of
from headstart.calls.model_calls import Details
from headstart.decode import decode
from headstart.inputs.checksum import NO_EXAMPLES, checksum_after
from headstart.inputs.examples import ExampleSource
from headstart.results import Dataset, DatasetState
from headstart.transport.status import too_large
from headstart.transport.upload import batches
from headstart.v1 import dataset_service_pb2 as pb
from headstart.v1 import fine_tuning_service_pb2, input_pb2

_PAGE_SIZE = 100
#: Maximum bytes and examples of a batch, which is repeated after a lost connection.
MAX_BATCH_BYTES, MAX_BATCH_EXAMPLES = 8 << 20, 1000
#: The fraction of the server's message limit that a batch may fill.
_MESSAGE_SHARE = 0.75
_OTHER_BYTES = 1024  # of the other fields of a message, at most


def get_dataset(name: str) -> Call[Dataset]:
    """Return the call of GetDataset."""
    return Call.of(
        pb.GetDatasetRequest(dataset=name), read=lambda response: decode(response.dataset, Dataset)
    )


def dataset_list(token: str) -> Call[Page[Dataset]]:
    """Return the call of ListDatasets."""
    return Call.of(
        pb.ListDatasetsRequest(page_size=_PAGE_SIZE, page_token=token),
        read=lambda response: page_of(response, response.datasets, Dataset),
    )


def dataset_creation(name: str, details: Details) -> Call[Dataset]:
    """Return the call of CreateDataset."""
    return Call.of(
        pb.CreateDatasetRequest(dataset=name, **details),
        read=lambda response: decode(response.dataset, Dataset),
    )


def dataset_change(name: str, details: Details) -> Call[Dataset]:
    """Return the call of UpdateDataset, with the changed fields in its mask."""
    if not details:
        raise ValueError("The update is empty. Pass display_name, description or tags.")
    request = pb.UpdateDatasetRequest(dataset=name, **details)
    request.update_mask.paths.extend(details)
    return Call.of(request, read=lambda response: decode(response.dataset, Dataset), repeatable=True)


def dataset_write(name: str, batch: int, examples: list[input_pb2.Example], checksum: bytes) -> Call[Dataset]:
    """Return the call of WriteExamples."""
    return Call.of(
        pb.WriteExamplesRequest(
            dataset=name,
            batch=batch,
            examples=fine_tuning_service_pb2.ExampleBatch(examples=examples),
            sha256=checksum,
        ),
        read=lambda response: decode(response.dataset, Dataset),
        repeatable=True,
    )


def dataset_finish(name: str, example_count: int | None) -> Call[Dataset]:
    """Return the call of FinishDataset."""
    return Call.of(
        pb.FinishDatasetRequest(dataset=name, example_count=example_count),
        read=lambda response: decode(response.dataset, Dataset),
        repeatable=True,
    )


def dataset_deletion(name: str, etag: str | None) -> Call[None]:
    """Return the call of DeleteDataset."""
    return Call.of(pb.DeleteDatasetRequest(dataset=name, etag=etag or ""), read=lambda _: None)


class DatasetUpload:
    """The batches that a dataset lacks; files are read as they are sent.

    Args:
        dataset: the dataset on the server.
        source: all examples, including stored ones.
        message_bytes: the server's limit of a message.

    Raises:
        ValueError: the examples are at a URI.
    """

    def __init__(self, dataset: Dataset, source: ExampleSource, message_bytes: int) -> None:
        if source.uri:
            raise ValueError(f"URIs are read for fine-tunes only. Received: {source.uri!r}")
        self._dataset = dataset
        self._source = source
        self._message_bytes = message_bytes
        self._max_bytes = min(MAX_BATCH_BYTES, int(message_bytes * _MESSAGE_SHARE) or MAX_BATCH_BYTES)
        #: Number of examples that the server has.
        self.sent = 0

    @property
    def total(self) -> int | None:
        """Number of all examples; None if it is unknown."""
        return self._source.total

    def calls(self) -> Iterator[Call[Dataset]]:
        """Yield the calls that write the missing batches, in order.

        Raises:
            ValueError: the stored examples differ, or an example exceeds the server's limit of a message.
        """
        checksum, examples = NO_EXAMPLES, iter(self._source)
        while checksum != self._dataset.sha256:
            example = next(examples, None)
            if example is None:
                raise ValueError(
                    f"The dataset {self._dataset.dataset!r} has other examples than these. Upload them under "
                    "another name, or delete the dataset first."
                )
            checksum = checksum_after(checksum, [example])
            self.sent += 1
        number = self._dataset.next_batch
        for batch in batches(examples, max_bytes=self._max_bytes, max_examples=MAX_BATCH_EXAMPLES):
            if self._dataset.state is DatasetState.READY:
                raise ValueError(
                    f"The dataset {self._dataset.dataset!r} is finished without some of these examples. "
                    "Upload them under another name, or delete the dataset first."
                )
            size = batch[0].ByteSize() if len(batch) == 1 else 0  # a larger example is a separate batch
            if 0 < self._message_bytes < size + _OTHER_BYTES:
                name = f"Example {self.sent} ({batch[0].example_id!r})"
                raise ValueError(too_large(name, size, self._message_bytes))
            checksum = checksum_after(checksum, batch)
            yield dataset_write(self._dataset.dataset, number, batch, checksum)
            number += 1
            self.sent += len(batch)
