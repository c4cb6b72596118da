"""The examples of a version or dataset in compact columns, to filter, order and page them."""

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.analysis.dataset_findings import DatasetFindings
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float64, Ints
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.learning.metrics.outcomes import PredictionOutcome

T = TypeVar("T")
Flags = NDArray[np.bool_]


class ExampleIssue(Enum):
    """The kinds of findings about an example, in the order in which they are listed."""

    LABEL_ISSUE = "label_issue"
    DUPLICATE = "duplicate"
    CONTRADICTION = "contradiction"
    OUTLIER = "outlier"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleFilter:
    """Conditions on examples, all of which must be met."""

    label: str = ""  # a class of the label; empty for any
    predicted_label: str = ""  # a class of the predicted label; empty for any
    issue: ExampleIssue | None = None
    held_out: bool | None = None  # whether the example was held out; None for either
    id_prefix: str = ""  # prefix of the ID; empty for any


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedExample:
    """An example with its prediction and findings; each finding has a suggested label or None."""

    index: int
    example: StoredExample
    outcome: PredictionOutcome | None
    findings: Sequence[tuple[ExampleIssue, Target | None]]


class ExampleIndex:
    """The examples of one list, about 150 bytes each. Safe to use from many threads.

    Args:
        findings: the findings about them; None without findings.
    """

    def __init__(self, listed: ExampleList, findings: DatasetFindings | None = None) -> None:
        examples = listed.examples
        self._ids = [example.id for example in examples]
        self._targets = _Interned(
            (example.target for example in examples), _target_key, lambda target: len(target.shares)
        )
        self._archives = _Interned((example.archive for example in examples), str)
        self._kinds = _Interned((example.kind for example in examples), str)
        self._types = _Interned((example.media_type for example in examples), str)
        self._members = np.array([example.member for example in examples], np.int32)
        self._sizes = np.array([example.nbytes for example in examples], np.int64)
        self._weights = np.array([example.weight for example in examples], np.float64)
        self._held_out = np.array([example.held_out for example in examples], np.bool_)
        self._feedback = np.array([example.feedback for example in examples], np.bool_)
        self._digests = np.array([example.digest for example in examples], np.bytes_)
        self._outcomes = _Outcomes(listed.outcomes or [None] * len(examples))
        self._issues, self._suggested = self._findings(findings)
        self.nbytes = self._count_bytes()

    def __len__(self) -> int:
        return len(self._ids)

    def stored(self, index: int) -> StoredExample:
        """Return an example without its prediction."""
        return StoredExample(
            target=self._targets[index],
            id=self._ids[index],
            held_out=bool(self._held_out[index]),
            digest=self._digests[index].decode(),
            kind=self._kinds[index],
            weight=float(self._weights[index]),
            archive=self._archives[index],
            member=int(self._members[index]),
            media_type=self._types[index],
            nbytes=int(self._sizes[index]),
            feedback=bool(self._feedback[index]),
        )

    def at(self, index: int) -> ListedExample:
        """Return an example with its prediction and findings."""
        outcome = self._outcomes.at(index)
        found = [issue for issue, flags in self._issues.items() if flags[index]]
        return ListedExample(
            index=index,
            example=self.stored(index),
            outcome=outcome,
            findings=[(issue, self._suggestion(issue, index, outcome)) for issue in found],
        )

    def target(self, index: int) -> Target:
        """Return the label of an example."""
        return self._targets[index]

    def indexes_of(self, example_id: str) -> Sequence[int]:
        """Return the indexes of the examples with an ID, at most two."""
        found: list[int] = []
        start = 0
        while len(found) < 2:
            try:
                found.append(self._ids.index(example_id, start))
            except ValueError:
                break
            start = found[-1] + 1
        return found

    def select(self, condition: ExampleFilter, *, by_suspicion: bool) -> Ints:
        """Return the indexes of the examples that meet a condition, in order."""
        places: Ints = np.flatnonzero(self._matches(condition))
        if not by_suspicion:
            return places
        loss = np.nan_to_num(-self._outcomes.loss[places], nan=np.inf)
        ordered: Ints = places[np.argsort(loss, kind="stable")]
        return ordered

    def _matches(self, condition: ExampleFilter) -> Flags:
        matches = np.ones(len(self), np.bool_)
        if condition.label:
            matches &= self._targets.flags(lambda target: condition.label in target.shares)
        if condition.predicted_label:
            matches &= self._outcomes.labels.flags(lambda labels: condition.predicted_label in labels)
        if condition.issue is not None:
            matches &= self._issues[condition.issue]
        if condition.held_out is not None:
            matches &= (self._held_out | self._outcomes.held_out) == condition.held_out
        if prefix := condition.id_prefix:
            matches &= np.array([name.startswith(prefix) for name in self._ids], np.bool_)
        return matches

    def _suggestion(
        self, issue: ExampleIssue, index: int, outcome: PredictionOutcome | None
    ) -> Target | None:
        if issue is ExampleIssue.LABEL_ISSUE:
            return self._suggested.get(index)
        if issue is ExampleIssue.ERROR and outcome is not None:
            return predicted_target(outcome, self._targets[index].task)
        return None

    def _findings(
        self, findings: DatasetFindings | None
    ) -> tuple[Mapping[ExampleIssue, Flags], dict[int, Target]]:
        issues = {issue: np.zeros(len(self), np.bool_) for issue in ExampleIssue}
        suggested: dict[int, Target] = {}
        _, group, counts = np.unique(self._digests, return_inverse=True, return_counts=True)
        issues[ExampleIssue.DUPLICATE] |= counts[group] > 1
        issues[ExampleIssue.ERROR] |= self._errors()
        if findings is not None:
            for each in findings.label_issues:
                suggested[each.example.index] = each.suggested_label
            for several in findings.duplicates:
                places = [example.index for example in several.examples]
                issues[ExampleIssue.DUPLICATE][places] = True
                issues[ExampleIssue.CONTRADICTION][places] = several.contradicting
            issues[ExampleIssue.OUTLIER][[each.example.index for each in findings.outliers]] = True
            issues[ExampleIssue.LABEL_ISSUE][list(suggested)] = True
        return issues, suggested

    def _errors(self) -> Flags:
        """Return whether the predicted classes differ from those of the label, [N]."""
        labels = self._outcomes.labels
        pairs = np.stack([self._targets.codes, labels.codes], axis=1)
        distinct, place = np.unique(pairs, axis=0, return_inverse=True)
        differs = [
            predicted >= 0 and _differs(self._targets.values[target], labels.values[predicted])
            for target, predicted in distinct.tolist()
        ]
        flags: Flags = np.array(differs, np.bool_)[place.ravel()] if len(pairs) else np.zeros(0, np.bool_)
        return flags & self._outcomes.known

    def _count_bytes(self) -> int:
        arrays = [value for value in vars(self).values() if isinstance(value, np.ndarray)]
        columns = [value for value in vars(self).values() if isinstance(value, _Interned)]
        return (
            sum(array.nbytes for array in (*arrays, *self._issues.values()))
            + sum(column.nbytes for column in columns)
            + self._outcomes.nbytes
            + sum(57 + 8 + len(name) for name in self._ids)
        )


def predicted_target(outcome: PredictionOutcome, task: Task) -> Target | None:
    """Return the predicted label; None if the head does not know the class."""
    if task is Task.REGRESSION:
        return None if outcome.value is None else Target.of_value(outcome.value)
    if task is Task.MULTI_LABEL:
        return Target.of_labels(outcome.labels)
    return Target.of_label(outcome.labels[0]) if outcome.labels else None


def _differs(target: Target, labels: tuple[str, ...]) -> bool:
    if target.task is Task.REGRESSION:
        return False
    return set(labels) != ({target.label} if target.task is Task.SINGLE_LABEL else set(target.shares))


def _target_key(target: Target) -> Hashable:
    return target.label if target.is_hard else sha256(json.dumps(target.to_json()).encode()).digest()


#: Bytes of a value, and of each further part of it: a dictionary entry and a number. A test measures them.
_VALUE, _PART = 400, 72


class _Interned(Generic[T]):
    """A column with repeated values: each once, and its position for each row; -1 for a missing value.

    Args:
        parts: returns the number of parts of a value, if it has several.
    """

    def __init__(
        self,
        column: Iterable[T | None],
        key: Callable[[T], Hashable],
        parts: Callable[[T], int] = lambda _: 1,
    ) -> None:
        places: dict[Hashable, int] = {}
        self.values: list[T] = []
        codes: list[int] = []
        for value in column:
            if value is None:
                codes.append(-1)
                continue
            place = places.setdefault(key(value), len(self.values))
            if place == len(self.values):
                self.values.append(value)
            codes.append(place)
        self.codes = np.array(codes, np.int32)
        #: Bytes in memory, roughly.
        self.nbytes = self.codes.nbytes + sum(
            _VALUE + _PART * max(0, parts(value) - 1) for value in self.values
        )

    def __getitem__(self, row: int) -> T:
        value: T = self.values[int(self.codes[row])]
        return value

    def flags(self, condition: Callable[[T], bool]) -> Flags:
        """Return whether the value of each row meets a condition, [N]; a missing value does not."""
        # The last element stands for the position -1.
        met = np.array([*map(condition, self.values), False], np.bool_)
        flags: Flags = met[self.codes]
        return flags


class _Outcomes:
    """The predictions of examples in columns."""

    def __init__(self, outcomes: Sequence[PredictionOutcome | None]) -> None:
        def column(name: str) -> Float64:
            values = [None if each is None else getattr(each, name) for each in outcomes]
            numbers: Float64 = np.array(values, np.float64)
            return numbers

        self.known = np.array([each is not None for each in outcomes], np.bool_)
        self.labels = _Interned(
            (None if each is None else each.labels for each in outcomes), lambda one: one, len
        )
        self.held_out = np.array([each is not None and each.held_out for each in outcomes], np.bool_)
        self.loss = column("loss")
        self._value, self._probability = column("value"), column("probability")
        self._confidence = column("confidence")

    def at(self, index: int) -> PredictionOutcome | None:
        """Return the prediction of an example; None without one."""
        if not self.known[index]:
            return None

        def number(column: Any) -> float | None:
            value = float(column[index])
            return None if np.isnan(value) else value

        return PredictionOutcome(
            labels=self.labels[index],
            value=number(self._value),
            probability=number(self._probability),
            loss=float(self.loss[index]),
            held_out=bool(self.held_out[index]),
            confidence=number(self._confidence),
        )

    @property
    def nbytes(self) -> int:
        """Bytes in memory, roughly."""
        return self.labels.nbytes + len(self.known) * 34
