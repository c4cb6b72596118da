"""Bugs for a chaos server, which prove that the checker of datasets, edits and erasures finds them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from headstart_server.datasets import batch_writer, dataset_rows, example_eraser, parents
from headstart_server.datasets.batch_writer import BatchRequest, BatchWriter
from headstart_server.datasets.edited_examples import EditedExamples
from headstart_server.datasets.erasure_log import ErasedMembers
from headstart_server.datasets.example_eraser import ExampleEraser
from headstart_server.datasets.named_dataset import NamedDataset
from headstart_server.jobs import job_runs
from headstart_server.learning.examples.example_edit import ExampleEdit
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.models import feedback_rows

_write, _edited, _list_columns = BatchWriter.write, parents.edited, dataset_rows.list_columns


@contextmanager
def _lost_batch() -> Iterator[None]:
    """The second batch of a dataset is acknowledged before it is written, and never is."""

    def write(self: BatchWriter, request: BatchRequest) -> NamedDataset:
        if request.number != 1:
            return _write(self, request)
        with self._database.snapshot() as connection:
            found = dataset_rows.find(connection, request.dataset)
        return replace(found, next_batch=2)

    with mock.patch.object(BatchWriter, "write", write):
        yield


@contextmanager
def _half_batch() -> Iterator[None]:
    """The list of a batch misses its last example."""

    def list_columns(examples: Sequence[StoredExample]) -> dict[str, bytes]:
        return _list_columns(examples[:-1])

    with mock.patch.object(batch_writer.dataset_rows, "list_columns", list_columns):
        yield


@contextmanager
def _lost_edit() -> Iterator[None]:
    """Edits of weights are not applied."""

    def edited(examples: Sequence[StoredExample], edits: Sequence[ExampleEdit], *rest: Any) -> EditedExamples:
        return _edited(examples, [edit for edit in edits if edit.weight is None], *rest)

    with mock.patch.object(parents, "edited", edited):
        yield


@contextmanager
def content_stays() -> Iterator[None]:
    """An erasure neither rewrites nor removes archives."""
    with (
        mock.patch.object(ExampleEraser, "_rewrite", return_value=0),
        mock.patch.object(example_eraser, "remove_released"),
    ):
        yield


@contextmanager
def _erased_is_inherited() -> Iterator[None]:
    """Fine-tunes do not look which examples of their parents were erased."""
    with ExitStack() as stack:
        stack.enter_context(content_stays())
        stack.enter_context(mock.patch.object(ErasedMembers, "among", return_value=set()))
        stack.enter_context(mock.patch.object(job_runs, "check_not_erased"))
        yield


@contextmanager
def _feedback_stays() -> Iterator[None]:
    """An erasure does not delete the feedback of the example."""
    with mock.patch.object(feedback_rows, "erase"):
        yield


#: Each bug as a block in which the server has it.
BUGS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    "lost-batch": _lost_batch,
    "half-batch": _half_batch,
    "lost-edit": _lost_edit,
    "content-stays": content_stays,
    "erased-is-inherited": _erased_is_inherited,
    "feedback-stays": _feedback_stays,
}
