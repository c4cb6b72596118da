"""Features of a call's inputs: one pass of each backbone, and passes of versions' own tails."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import NamedTuple

from headstart_server.backbones.contract.backbone import Content, Modality, Truncation
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import Lane, RowFeatures, stacked
from headstart_server.errors import HeadstartError
from headstart_server.models.resident import ResidentVersion
from headstart_server.prediction.input_faults import (
    PendingRow,
    cancel,
    fault,
    settled,
    too_large,
    wrong_modalities,
)

#: Multiplications per row above which a head does not predict within the backbone's batches.
HEAD_WORK_IN_BATCH = 2_000_000
#: Multiplications per call above which its heads run in a thread, so that they do not block the event loop.
HEAD_WORK_IN_LOOP = 20_000_000


class InputFeatures(NamedTuple):
    """Features of the usable inputs of a call."""

    contents: Sequence[Content]  # the usable inputs
    rows: Mapping[str, Sequence[RowFeatures]]  # their features, by backbone
    faults: Mapping[int, HeadstartError]  # errors of the other inputs, by index


async def compute_features(
    embedders: Mapping[str, Embedder],
    contents: Sequence[Content],
    deadline: float | None,
    versions: Sequence[ResidentVersion] = (),
    *,
    max_input_bytes: int,
    skip_invalid: bool = False,
) -> InputFeatures:
    """Run backbones concurrently.

    Args:
        embedders: the backbones; all check the modality of the inputs before the first one runs.
        contents: the inputs.
        deadline: when the caller stops waiting, on the clock; None for never.
        versions: the versions that predict; heads without a tail predict within the batches.
        max_input_bytes: maximum bytes of one input.
        skip_invalid: whether invalid inputs are skipped, unless all are invalid.

    Raises:
        HeadstartError: names every invalid input.
    """
    faults: dict[int, HeadstartError] = too_large(contents, max_input_bytes)
    for embedder in embedders.values():
        faults = wrong_modalities(embedder, contents, raises=not skip_invalid) | faults
    if len(faults) == len(contents):
        raise fault(faults, len(contents))
    places = [place for place in range(len(contents)) if place not in faults]
    usable = [contents[place] for place in places] if faults else contents
    begun = _begun(embedders, usable, deadline, versions)
    found = await settled([part for parts in begun.values() for part in parts])
    for at, row in enumerate(found):
        if isinstance(row, HeadstartError):
            faults.setdefault(places[at % len(places)], row)
    if faults and (not skip_invalid or len(faults) == len(contents)):
        raise fault(faults, len(contents))
    each = iter(found)
    rows = {
        name: [
            row
            for place, row in zip(places, islice(each, len(places)), strict=True)
            if place not in faults and isinstance(row, RowFeatures)
        ]
        for name in begun
    }
    if faults:
        contents = [content for place, content in enumerate(contents) if place not in faults]
    return InputFeatures(contents=contents, rows=rows, faults=faults)


def without(
    features: InputFeatures, faults: Mapping[int, HeadstartError], *, skip_invalid: bool
) -> InputFeatures:
    """Return features without some of the usable inputs, whose errors `faults` has by index among these.

    Raises:
        HeadstartError: names every invalid input, unless they are skipped and others remain.
    """
    count = len(features.contents) + len(features.faults)
    places = [place for place in range(count) if place not in features.faults]
    invalid = {**features.faults, **{places[at]: error for at, error in faults.items()}}
    if not skip_invalid or len(invalid) == count:
        raise fault(invalid, count)
    kept = [at for at in range(len(places)) if at not in faults]
    return InputFeatures(
        contents=[features.contents[at] for at in kept],
        rows={name: [rows[at] for at in kept] for name, rows in features.rows.items()},
        faults=invalid,
    )


def _begun(
    embedders: Mapping[str, Embedder],
    contents: Sequence[Content],
    deadline: float | None,
    versions: Sequence[ResidentVersion],
) -> dict[str, Sequence[PendingRow]]:
    """Begin the passes of all backbones; return the rows of each, finished or pending."""
    cuts = cuts_of(versions)
    begun: dict[str, Sequence[PendingRow]] = {}
    try:
        for name, embedder in embedders.items():
            heads = [each.head for each in versions if each.backbone == name and _is_in_batch(each)]
            if len(contents) * sum(head.work for head in heads) > HEAD_WORK_IN_LOOP:
                # They run later, in a thread.
                heads = []
            now = embedder.predict_now(contents, heads)
            begun[name] = (
                embedder.predict(contents, deadline, cuts.get(name, frozenset()), heads)
                if now is None
                else now
            )
    except BaseException:
        cancel(part for parts in begun.values() for part in parts)
        raise
    return begun


def _is_in_batch(version: ResidentVersion) -> bool:
    """Return whether a version's head predicts within the batches of its rows."""
    return version.tail is None and version.head.work <= HEAD_WORK_IN_BATCH


def cuts_of(versions: Sequence[ResidentVersion]) -> dict[str, frozenset[str]]:
    """Return the cuts of versions' tails, by backbone, so that one pass computes all of them."""
    cuts: dict[str, frozenset[str]] = {}
    for version in versions:
        if version.tail is not None:
            cuts[version.backbone] = cuts.get(version.backbone, frozenset()) | {version.tail.cut}
    return cuts


async def begin_tail(
    version: ResidentVersion, embedder: Embedder, rows: Sequence[RowFeatures], deadline: float | None
) -> Sequence["Future[RowFeatures]"]:
    """Begin the passes of a version's own tail over the activations at its cut; empty without a tail."""
    tail = version.tail
    if tail is None:
        return []
    if not tail.is_ready:
        await asyncio.to_thread(tail.prepare, embedder)
    activations = stacked(rows, [tail.cut])[tail.cut]
    return tail.start(embedder, activations, Lane.PREDICT, deadline=deadline)


def truncations(embedder: Embedder, rows: Sequence[RowFeatures]) -> Mapping[int, Truncation]:
    """Return the truncation of each truncated text, by index."""
    if embedder.info.modality is not Modality.TEXT:
        return {}
    return {place: row.truncation for place, row in enumerate(rows) if row.truncation is not None}
