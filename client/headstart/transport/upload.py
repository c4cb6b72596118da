"""Streams of examples: a message with the spec, then batches of examples; and the pipe that carries them."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from headstart.decode import decode, decode_comparison
from headstart.encode import spec_message
from headstart.errors import ErrorDetails, HeadstartError, InvalidArgument
from headstart.inputs.examples import ExampleSource
from headstart.results import Comparison, EvaluationResult, Validation
from headstart.spec import FineTuneSpec
from headstart.transport.cancellation import Cancellation
from headstart.transport.status import MESSAGE_TOO_LARGE, metadata_number, too_large
from headstart.v1 import evaluation_service_pb2 as evaluating
from headstart.v1 import fine_tuning_service_pb2 as pb
from headstart.v1 import input_pb2
from headstart.version_ref import VersionRef, selector

Item = TypeVar("Item")


class Pipe(Iterator[Item], Generic[Item]):
    """A short queue with two ends, either of which can close it.

    The caller's thread reads the examples, so that errors are raised there and Ctrl-C works.
    """

    def __init__(self, capacity: int = 2) -> None:
        self._capacity = capacity
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._finished = False
        self._closed = False

    def put(self, item: Item) -> bool:
        """Wait for capacity and add an item; return False if the other end has closed the pipe."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if not self._closed:
                self._items.append(item)
            self._changed.notify_all()
            return not self._closed

    def drain(self) -> bool:
        """Wait until the reader has received all items; return False if it has closed the pipe."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._items)
            return not self._closed

    def finish(self) -> None:
        """Mark the end of the items; the reader still receives the queued ones."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stop reading; `put` then returns False."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __next__(self) -> Item:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._finished or self._items)
            if self._closed or not self._items:
                raise StopIteration
            item = self._items.popleft()
            self._changed.notify_all()
            return item


MAX_BATCH_BYTES: Final = 2**20
MAX_BATCH_EXAMPLES: Final = 256
_FIELD_BYTES: Final = 6  # the tag and the length of one example in its batch, at most
_EVALUATION: Final = "/headstart.v1.EvaluationService/"

Result = TypeVar("Result")
UploadReport = Callable[[int, int | None], object]
"""A callback with the number of sent examples and their total, None if it is unknown.

The last report of a complete stream has the number of its examples twice.
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One message of the stream, and the number of examples sent up to its end."""

    message: Message
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload(Generic[Result]):
    """A stream of examples, which can be iterated several times."""

    path: str  # full name of the method
    request: Callable[..., Message]  # type of its messages; each has the fields `spec` and `examples`
    spec: Message  # the spec
    source: ExampleSource  # the examples
    response: type[Message]  # type of the response
    read: Callable[[Any], Result]  # converts the response into a result
    cancellation: Cancellation = field(default_factory=Cancellation)  # of all attempts to send it

    def __iter__(self) -> Iterator[Part]:
        yield Part(self.request(spec=self.spec), 0)
        count = 0
        for batch in batches(self.cancellation.checked(self.source)):
            count += len(batch)
            yield Part(self.request(examples=pb.ExampleBatch(examples=batch)), count)

    def located(self, error: HeadstartError) -> HeadstartError:
        """Return the error of the example that exceeds the server's limit of a message; else the error.

        It reads the examples again, up to this one.
        """
        limit = metadata_number(error, "limit")
        if error.reason != MESSAGE_TOO_LARGE or limit is None:
            return error
        for index, example in enumerate(self.source):
            if (size := example.ByteSize()) + 3 * _FIELD_BYTES > limit:
                return InvalidArgument(
                    ErrorDetails(
                        code=grpc.StatusCode.INVALID_ARGUMENT,
                        message=too_large(f"Example {index} ({example.example_id!r})", size, limit),
                        reason="INPUT_TOO_LARGE",
                    )
                )
        return error


def fine_tune(spec: FineTuneSpec, source: ExampleSource) -> Upload[str]:
    """Return the upload of FineTune, whose result is the ID of the job."""
    spec = replace(spec, dataset_uri=source.uri)
    return _fine_tuning(spec_message(spec), source, lambda response: str(response.job.job_id))


def validation(spec: FineTuneSpec, source: ExampleSource) -> Upload[Validation]:
    """Return the upload of a FineTune that validates only."""
    message = spec_message(replace(spec, dataset_uri=source.uri), validate_only=True)
    return _fine_tuning(message, source, lambda response: decode(response.validation, Validation))


def evaluation(target: VersionRef, source: ExampleSource, dataset: str = "") -> Upload[EvaluationResult]:
    """Return the upload of Evaluate, without examples for a dataset of the server."""
    _check_sent(source)
    return Upload(
        path=_EVALUATION + "Evaluate",
        request=evaluating.EvaluateRequest,
        spec=evaluating.EvaluateSpec(target=selector(target), dataset=dataset),
        source=source,
        response=evaluating.EvaluateResponse,
        read=lambda response: decode(response, EvaluationResult),
    )


def comparison(
    first: VersionRef, second: VersionRef, source: ExampleSource, dataset: str = ""
) -> Upload[Comparison]:
    """Return the upload of Compare; without examples, the dataset or the versions' own examples are used."""
    _check_sent(source)
    return Upload(
        path=_EVALUATION + "Compare",
        request=evaluating.CompareRequest,
        spec=evaluating.CompareSpec(first=selector(first), second=selector(second), dataset=dataset),
        source=source,
        response=evaluating.CompareResponse,
        read=decode_comparison,
    )


def batches(
    examples: Iterable[input_pb2.Example],
    *,
    max_bytes: int = MAX_BATCH_BYTES,
    max_examples: int = MAX_BATCH_EXAMPLES,
) -> Iterator[list[input_pb2.Example]]:
    """Split examples into batches, without reading ahead; a larger example is a separate batch."""
    batch: list[input_pb2.Example] = []
    size = 0
    for example in examples:
        added = example.ByteSize() + _FIELD_BYTES
        if batch and (size + added > max_bytes or len(batch) == max_examples):
            yield batch
            batch, size = [], 0
        batch.append(example)
        size += added
    if batch:
        yield batch


def _check_sent(source: ExampleSource) -> None:
    if source.uri:
        raise ValueError(f"URIs are read for fine-tunes only. Received: {source.uri!r}")


def _fine_tuning(spec: Message, source: ExampleSource, read: Callable[[Any], Result]) -> Upload[Result]:
    return Upload(
        path="/headstart.v1.FineTuningService/FineTune",
        request=pb.FineTuneRequest,
        spec=spec,
        source=source,
        response=pb.FineTuneResponse,
        read=read,
    )
