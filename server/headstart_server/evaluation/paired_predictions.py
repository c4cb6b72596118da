"""Pairs predictions of two heads for stored examples: stored predictions, and new ones for other examples."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import nan

import numpy as np

from headstart_server.backbones.contract.backbone import Content
from headstart_server.datasets.example_archive import ArchiveReader
from headstart_server.embedding.dataset_features import extract
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import RowFeatures, stacked
from headstart_server.embedding.tails import VersionTail, trained_views
from headstart_server.errors import UndecodableInput
from headstart_server.learning.examples.stored_example import StoredExample, exclusion_mark
from headstart_server.learning.examples.target import Target
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.heads.head import Head
from headstart_server.learning.metrics.comparison import PairedOutcome
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.learning.metrics.outcomes import LabeledOutputs, PredictionOutcome
from headstart_server.prediction.head_predictions import rows_without_numbers

#: Maximum examples whose features are in memory together.
BLOCK = 1024


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ComparedHead:
    """A head with the examples for which it has stored predictions."""

    head: Head
    # computes its features; None if this server lacks the backbone that it was fitted on
    embedder: Embedder | None
    known: ExampleList
    tail: VersionTail | None = None  # its own tail; None if it uses the backbone's last view


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleAccess:
    """Settings for reading stored examples."""

    reader: Callable[[], ArchiveReader]  # opens a reader of stored contents
    window: int  # maximum number of examples in flight between archive and backbone
    checkpoint: Callable[[], None] = lambda: None  # called between pieces of work; may raise to stop


def pair_predictions(
    first: ComparedHead, second: ComparedHead, reading: ExampleAccess, *, leave_out: Iterable[str] = ()
) -> list[PairedOutcome]:
    """Return the predictions of two heads for all examples that either of them knows.

    A head's own examples have stored predictions of heads that were not fitted on them. The head predicts all
    other examples. Examples without a prediction of both heads are omitted. If the labels of an example
    differ, the label of the second head counts for both, because it may be a correction.

    Args:
        leave_out: marks of contents to omit unless the second head knows them.
    """
    mine, theirs = _by_digest(second.known), _by_digest(first.known)
    out = set(leave_out)
    shared = {
        digest: example
        for digest, (example, _) in (theirs | mine).items()
        if digest in mine or not out or exclusion_mark(digest) not in out
    }
    places = tuple(_first_places(head.known) for head in (first, second))
    before = _all_outcomes(first, theirs, shared, reading)
    after = _all_outcomes(second, mine, shared, reading)
    return [
        PairedOutcome(
            target=example.target,
            weight=example.weight,
            first=_judged(before[digest], theirs.get(digest), example.target),
            second=after[digest],
            index=places[digest in mine][digest],
            id=example.id,
            source=int(digest in mine),
        )
        for digest, example in shared.items()
        if digest in before and digest in after
    ]


_Known = Mapping[str, tuple[StoredExample, PredictionOutcome | None]]


def _by_digest(known: ExampleList) -> dict[str, tuple[StoredExample, PredictionOutcome | None]]:
    found: dict[str, tuple[StoredExample, PredictionOutcome | None]] = {}
    for example, outcome in zip(known.examples, known.outcomes, strict=True):
        found.setdefault(example.digest, (example, outcome))
    return found


def _first_places(known: ExampleList) -> dict[str, int]:
    found: dict[str, int] = {}
    for index, example in enumerate(known.examples):
        found.setdefault(example.digest, index)
    return found


def _judged(
    outcome: PredictionOutcome, known: tuple[StoredExample, PredictionOutcome | None] | None, target: Target
) -> PredictionOutcome:
    """Return an outcome under a corrected target. Its log loss is NaN, because it was not stored."""
    if known is None or known[0].target == target:
        return outcome
    if target.value is not None and outcome.value is not None:
        return outcome._replace(loss=abs(outcome.value - target.value))
    return outcome._replace(loss=nan, probability=None)


def _all_outcomes(
    compared: ComparedHead, known: _Known, shared: Mapping[str, StoredExample], reading: ExampleAccess
) -> dict[str, PredictionOutcome]:
    kept = {
        digest: outcome
        for digest in shared
        if digest in known and (outcome := known[digest][1]) is not None and outcome.counted
    }
    foreign = [example for digest, example in shared.items() if digest not in known]
    if foreign and compared.embedder is not None:
        kept |= _predict(compared, compared.embedder, foreign, reading)
    return kept


def _predict(
    compared: ComparedHead, embedder: Embedder, examples: Sequence[StoredExample], reading: ExampleAccess
) -> dict[str, PredictionOutcome]:
    """Return outcomes for examples that a head was not fitted on; omit examples without features."""
    outcomes: dict[str, PredictionOutcome] = {}
    with closing(reading.reader()) as contents:
        for start in range(0, len(examples), BLOCK):
            part = examples[start : start + BLOCK]

            def read(place: int, part: Sequence[StoredExample] = part) -> Content:
                return contents.read(part[place])

            extracted = extract(
                embedder,
                [example.digest for example in part],
                read,
                window=reading.window,
                cuts=required_cuts(compared.tail),
                checkpoint=reading.checkpoint,
            )
            rows = {place: result for place, result in extracted if isinstance(result, RowFeatures)}
            predicted = {part[place].digest: part[place] for place in rows}
            if rows:
                views = head_views(
                    compared.tail, embedder, list(rows.values()), compared.head.views, reading.checkpoint
                )
                outcomes |= _outcomes(compared.head, predicted, views)
    return outcomes


def _outcomes(
    head: Head, examples: Mapping[str, StoredExample], views: Mapping[str, Float32]
) -> dict[str, PredictionOutcome]:
    outputs = head.outputs(views)
    labeled = LabeledOutputs.from_head(
        [example.target for example in examples.values()],
        [example.weight for example in examples.values()],
        outputs,
        head.thresholds,
        head.class_names,
    )
    unknown = rows_without_numbers(outputs)
    found = enumerate(zip(examples, labeled.outcomes(), strict=True))
    return {digest: outcome for place, (digest, outcome) in found if place not in unknown}


def required_cuts(tail: VersionTail | None) -> frozenset[str]:
    """Return the cuts that a head needs in addition to the views."""
    return frozenset() if tail is None else frozenset({tail.cut})


def head_views(
    tail: VersionTail | None,
    embedder: Embedder,
    rows: Sequence[RowFeatures],
    views: Sequence[str],
    checkpoint: Callable[[], None],
) -> Mapping[str, Float32]:
    """Return the views [n, D] of n inputs for a head, computed by its own tail if it has one."""
    activations = stacked(rows, [tail.cut])[tail.cut] if tail is not None else None
    return trained_views(tail, embedder, stacked(rows, views), activations, checkpoint)


def finite(row: RowFeatures, views: Sequence[str]) -> RowFeatures | UndecodableInput:
    """Return the row, or an error if it contains NaN or infinity, which would spoil the whole head."""
    if all(np.isfinite(row.views[name]).all() for name in views):
        return row
    return UndecodableInput(
        "The features of the input contain NaN or infinity. Check the input for invalid numbers."
    )
