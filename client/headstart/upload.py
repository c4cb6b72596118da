"""A fine-tune's stream: the spec, then the examples in batches."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from headstart.examples import ExampleSource
from headstart.spec import FineTuneSpec
from headstart.spec_message import spec_message
from headstart.v1 import fine_tuning_service_pb2 as pb
from headstart.v1 import input_pb2

__all__ = ["MAX_BATCH_BYTES", "MAX_BATCH_EXAMPLES", "Part", "Upload", "UploadAbandoned", "batches"]

MAX_BATCH_BYTES: Final = 2**20
MAX_BATCH_EXAMPLES: Final = 256
_FIELD_BYTES: Final = 6  # the tag and the length of one example in its batch, at most


class UploadAbandoned(Exception):  # nobody sees it but the thread that is to stop
    """Whoever wanted the upload wants it no more."""


@dataclass(frozen=True, slots=True)
class Part:
    """One message of the stream.

    Attributes:
        message: the message.
        count: the examples that have been sent once this message has.
    """

    message: pb.FineTuneRequest
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """The whole stream, as often as it is iterated.

    Attributes:
        spec: what to do.
        source: the examples.
        validate_only: True asks for findings instead of a job.
        abandoned: set by another thread to give the upload up; the next part is then an error.

    Raises:
        UploadAbandoned: while it is iterated, if it was given up.
    """

    spec: FineTuneSpec
    source: ExampleSource
    validate_only: bool = False
    abandoned: threading.Event = field(default_factory=threading.Event)

    def __iter__(self) -> Iterator[Part]:
        spec = spec_message(self.spec, validate_only=self.validate_only)
        yield Part(pb.FineTuneRequest(spec=spec), 0)
        count = 0
        for batch in batches(self.source):
            if self.abandoned.is_set():
                raise UploadAbandoned
            count += len(batch)
            yield Part(pb.FineTuneRequest(examples=pb.ExampleBatch(examples=batch)), count)


def batches(
    examples: Iterable[input_pb2.Example],
    *,
    max_bytes: int = MAX_BATCH_BYTES,
    max_examples: int = MAX_BATCH_EXAMPLES,
) -> Iterator[list[input_pb2.Example]]:
    """Cuts a stream of examples into batches, reading no further than the batch it gives.

    Args:
        examples: the examples.
        max_bytes: of a batch; an example that is larger by itself gets a batch of its own.
        max_examples: of a batch.
    """
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
