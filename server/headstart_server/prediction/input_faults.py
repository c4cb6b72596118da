"""The invalid inputs of a call, and the features of the others."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from itertools import count

import numpy as np

from headstart_server.backbones.contract.backbone import Content, content_nbytes
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.modality import check_modality, kind_of, kinds_of
from headstart_server.embedding.queue import RowFeatures
from headstart_server.errors import HeadstartError, InputTooLarge, UndecodableInput, WrongModality
from headstart_server.learning.features.feature_matrix import Float32

#: The features of an input: finished, failed, or pending.
PendingRow = RowFeatures | HeadstartError | Future[RowFeatures]
#: Errors that `Backbone.decode` raises for an invalid input.
_FAULTS_OF_INPUTS = (UndecodableInput, InputTooLarge, WrongModality)


def wrong_modalities(
    embedder: Embedder, contents: Sequence[Content], *, raises: bool
) -> dict[int, HeadstartError]:
    """Return the errors of contents that a backbone does not accept, by index.

    Raises:
        WrongModality: it accepts none of them, or not all and `raises` is set; names each one.
    """
    found: dict[int, HeadstartError] = {}
    info = embedder.info
    kinds = kinds_of(info.modality)
    for place, content in enumerate(contents):
        if kind_of(content) in kinds:
            continue
        try:
            check_modality(info, content, f"inputs[{place}]")
        except WrongModality as error:
            found[place] = error
    if found and (raises or len(found) == len(contents)):
        first, *others = found.values()
        first.further = tuple(others)
        raise first
    return found


def too_large(contents: Sequence[Content], max_bytes: int) -> dict[int, HeadstartError]:
    """Return the errors of contents with too many bytes, by index."""
    return {
        place: InputTooLarge(
            f"Expected at most {max_bytes} bytes. Received: {nbytes}. Scale it down, or leave it out."
        )
        for place, content in enumerate(contents)
        if (nbytes := content_nbytes(content)) > max_bytes
    }


async def settled(rows: Sequence[PendingRow]) -> list[RowFeatures | HeadstartError]:
    """Wait for the features of inputs; return them, or the errors of invalid inputs.

    Raises:
        BaseException: a deadline, a shutdown or a runtime fault, which no input caused.
    """
    futures = [row for row in rows if isinstance(row, Future)]
    if futures:
        try:
            await _all_done(futures)
        except asyncio.CancelledError:
            cancel(futures)
            raise
    return [row if isinstance(row, RowFeatures) else _finished(row) for row in rows]


def _finished(row: HeadstartError | Future[RowFeatures]) -> RowFeatures | HeadstartError:
    """Return the features of an input, or its error; raise an error that the input did not cause."""
    try:
        if isinstance(row, Future):
            return row.result()
        raise row
    except _FAULTS_OF_INPUTS as error:
        return error
    finally:
        # The error holds this frame: with the future in it, both would wait for garbage collection.
        del row


def cancel(rows: Iterable[PendingRow]) -> None:
    """Cancel the features that are pending."""
    for row in rows:
        if isinstance(row, Future):
            row.cancel()


async def gathered(futures: Sequence["Future[RowFeatures]"]) -> list[RowFeatures]:
    """Return the features of all inputs; raise one error that names every invalid input."""
    rows = await settled(futures)
    if faults := {place: row for place, row in enumerate(rows) if isinstance(row, HeadstartError)}:
        raise fault(faults, len(futures))
    return [row for row in rows if isinstance(row, RowFeatures)]


async def _all_done(futures: Sequence["Future[RowFeatures]"]) -> None:
    """Wait for all with a single wake-up of the event loop, which takes a system call and an iteration."""
    loop = asyncio.get_running_loop()
    all_done = loop.create_future()
    # The futures end in many threads; `next` of a C iterator is atomic.
    ended = count(1)
    # Not the futures: they hold `end`, and would wait for the garbage collector.
    last = len(futures)

    def wake() -> None:
        if not all_done.done():
            all_done.set_result(None)

    def end(_: "Future[RowFeatures]") -> None:
        if next(ended) == last:
            loop.call_soon_threadsafe(wake)

    for future in futures:
        future.add_done_callback(end)
    await all_done


def aligned(
    views: Mapping[str, Float32], faults: Mapping[int, HeadstartError], count: int
) -> Mapping[str, Float32]:
    """Return features with a row for each input: NaN for invalid ones."""
    if not faults:
        return views
    usable = [place for place in range(count) if place not in faults]
    aligned = {}
    for view, matrix in views.items():
        aligned[view] = np.full((count, matrix.shape[1]), np.nan, np.float32)
        aligned[view][usable] = matrix
    return aligned


def fault(faults: Mapping[int, HeadstartError], count: int) -> HeadstartError:
    """Return one error that names every invalid input."""
    faults = dict(sorted(faults.items()))
    place, first = next(iter(faults.items()))
    named = [
        type(fault)(
            fault.message if fault.field else f"Input {at}: {fault.message}",  # a wrong modality has a field
            field=f"inputs[{at}]",
            metadata=fault.metadata,
        )
        for at, fault in faults.items()
    ]
    others = f" ({len(named)} of {count} inputs are at fault.)" if len(named) > 1 else ""
    return type(first)(
        f"{named[0].message}{others}",
        field=f"inputs[{place}]",
        metadata=first.metadata,
        further=named[1:],
    )
