"""Examples, their limits, and the digest of a dataset."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from headstart_server.backbones.contract.backbone import Content, content_nbytes
from headstart_server.errors import (
    ContradictingLabels,
    DatasetTooLarge,
    InputTooLarge,
    TooManyClasses,
    WrongTask,
)
from headstart_server.learning.examples.example_checks import FIELDS, check_id, check_weight, checked_target
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target, targets_json
from headstart_server.learning.examples.target_count import TargetCount
from headstart_server.learning.examples.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetLimits:
    """Limits of a dataset; bytes are those of all inputs together."""

    max_examples: int = 50_000
    max_bytes: int = 4 << 30
    max_input_bytes: int = 32 << 20
    max_classes: int = 1_000
    # classes in the labels of all examples together, besides one of each example: each takes memory
    max_further_classes: int = 5_000_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Example:
    """A labeled input; its weight is above 0. `feedback` marks feedback on a prediction."""

    content: Content
    target: Target
    id: str = ""
    held_out: bool = False
    weight: float = 1.0
    feedback: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleFault:
    """An example that cannot be used, by its position in the stream from 0, with a reason of the contract."""

    index: int
    id: str
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetSummary:
    """Counts and digest of a dataset.

    The digest is a SHA-256 over contents, labels and weights, independent of the order of the examples.
    `added_count` counts the examples of the fine-tune itself, None for all; `removed_count` those of the
    parent that were excluded or replaced, `edited_count` those that were changed.
    """

    example_count: int
    class_counts: dict[str, int]
    held_out_count: int
    digest: str
    task: Task = Task.SINGLE_LABEL
    added_count: int | None = None
    removed_count: int = 0
    edited_count: int = 0
    further_classes: int = 0  # classes in all labels together, besides one of each example


@dataclass(kw_only=True, slots=True)
class DatasetCount:
    """Counts examples as they arrive, and rejects the first that exceeds a limit."""

    limits: DatasetLimits
    task: Task | None = None
    _nbytes: int = 0
    _classes: int = 0  # classes in all labels together
    _names: dict[str, str] = field(default_factory=dict)  # the names of the classes
    _hard: dict[str, Target] = field(default_factory=dict)  # the labels of one class
    _targets: TargetCount = field(default_factory=TargetCount)
    _members: list[bytes] = field(default_factory=list)

    def add(self, example: Example, content_digest: str) -> Example:
        """Count an example and return it in its normal form."""
        index, limits = self._targets.total, self.limits
        size = content_nbytes(example.content)
        example = replace(example, target=self._shared(checked_target(example.target, index)))
        self._check_task(example.target, index)
        check_id(example.id, index)
        check_weight(example.weight, index)
        if size > limits.max_input_bytes:
            name = f"Example {index} ({example.id!r})" if example.id else f"Example {index}"
            raise InputTooLarge(
                f"{name} is too large. Expected at most {limits.max_input_bytes} bytes. Received: {size}. "
                "Scale it down, or leave it out.",
                field=f"examples[{index}].input",
            )
        self._nbytes += size
        self._take(example, content_digest)
        return example

    def add_stored(self, example: StoredExample) -> None:
        """Count an example of the parent version, which was checked when it arrived."""
        self._take(example, example.digest)

    def _shared(self, target: Target) -> Target:
        """Return a label without copies of what other labels have."""
        if target.is_hard:
            return self._hard.setdefault(target.label, target)
        if target.task is Task.REGRESSION:
            return target
        names = self._names
        return replace(
            target, shares={names.setdefault(name, name): share for name, share in target.shares.items()}
        )

    @property
    def further_classes(self) -> int:
        """Number of classes in all labels together, besides one of each example."""
        return max(0, self._classes - self.total)

    @property
    def total(self) -> int:
        """Number of examples so far."""
        return self._targets.total

    @property
    def class_counts(self) -> Mapping[str, int]:
        """Number of examples of each class so far."""
        return self._targets.class_counts

    def add_of_dataset(self, example: StoredExample) -> None:
        """Count an example of a named dataset, which was checked when it arrived."""
        self._check_task(example.target, self._targets.total)
        self._take(example, example.digest)

    def digest(self) -> str:
        """Return the SHA-256 over the examples so far, independent of their order."""
        return sha256(b"".join(sorted(self._members))).hexdigest()

    def summary(self) -> DatasetSummary:
        """Return the summary of all examples."""
        self._targets.check()
        return DatasetSummary(
            example_count=self._targets.total,
            class_counts=dict(sorted(self._targets.class_counts.items())),
            held_out_count=self._targets.held_out,
            digest=self.digest(),
            task=self._targets.task or Task.SINGLE_LABEL,
            further_classes=self.further_classes,
        )

    def _take(self, example: Example | StoredExample, content_digest: str) -> None:
        self._targets.add(example.target, held_out=example.held_out)
        self._classes += len(example.target.shares)
        self._members.append(_member(example, content_digest))
        self._check_totals()

    def _check_task(self, target: Target, index: int) -> None:
        task = self.task or self._targets.task
        if task is not None and target.task is not task:
            why = "the task requires" if self.task else "the first example has"
            raise WrongTask(
                f"Example {index} has {_KINDS[target.task]}, but {why} {_KINDS[task]}. Give all examples the "
                "same kind of label.",
                field=f"examples[{index}].{FIELDS[target.task]}",
            )

    def _check_totals(self) -> None:
        check_totals(
            self.limits,
            self._targets.total,
            self._nbytes,
            classes=len(self._targets.class_counts),
            further_classes=self.further_classes,
        )


def check_totals(
    limits: DatasetLimits, examples: int, nbytes: int, *, classes: int, further_classes: int
) -> None:
    """Check that a dataset has no more examples, bytes and classes than the server allows."""
    for what, count, limit in (
        ("examples", examples, limits.max_examples),
        ("bytes", nbytes, limits.max_bytes),
    ):
        if count > limit:
            raise DatasetTooLarge(
                f"The dataset has more than the {limit:,} {what} that the server allows. Send fewer "
                "or smaller examples.",
                metadata={"limit": str(limit), "subject": what},
            )
    if classes > limits.max_classes:
        raise TooManyClasses(
            f"The dataset has more than the {limits.max_classes:,} classes that the server allows: example "
            f"{examples - 1} has class {limits.max_classes + 1}. Merge classes. If the labels are numbers to "
            "predict, send them as values.",
            metadata={"limit": str(limits.max_classes)},
        )
    if further_classes > limits.max_further_classes:
        raise DatasetTooLarge(
            f"The labels of the first {examples:,} examples have more than {limits.max_further_classes:,} "
            "classes besides one of each example, which is the maximum of a dataset. Send fewer examples, or "
            "only the most probable classes of each, with probabilities that sum up to 1.",
            metadata={"limit": str(limits.max_further_classes), "subject": "classes of labels"},
        )


_KINDS = {
    Task.SINGLE_LABEL: "one label",
    Task.MULTI_LABEL: "a set of labels",
    Task.REGRESSION: "a number",
}


def _member(example: Example | StoredExample, content_digest: str) -> bytes:
    return _member_of(content_digest, example.target.to_json(), example.weight, example.held_out)


def _member_of(content_digest: str, target: Any, weight: float, held_out: bool) -> bytes:
    use = int(held_out)
    if weight == 1 and isinstance(target, str):
        return sha256(f"{content_digest}\0{target}\0{use}".encode()).digest()
    shown = json.dumps(target, ensure_ascii=False)
    return sha256(f"{content_digest}\0{shown}\0{weight!r}\0{use}".encode()).digest()


def dataset_digest(examples: Sequence[StoredExample]) -> str:
    """Return the digest of a dataset of stored examples, as `DatasetSummary` has it."""
    targets = targets_json([example.target for example in examples])
    members = [
        _member_of(example.digest, target, example.weight, example.held_out)
        for example, target in zip(examples, targets, strict=True)
    ]
    return sha256(b"".join(sorted(members))).hexdigest()


def find_label_conflicts(
    digests: Sequence[str], targets: Sequence[Target], ids: Sequence[str]
) -> list[ExampleFault]:
    """Return a fault for each example whose content also has another label, in order."""
    first: dict[str, int] = {}
    other: dict[str, int] = {}
    for index, digest in enumerate(digests):
        earlier = first.setdefault(digest, index)
        if targets[index] != targets[earlier]:
            other.setdefault(digest, index)
    faults = []
    for index, digest in enumerate(digests):
        if digest in other:
            against = first[digest] if targets[index] != targets[first[digest]] else other[digest]
            faults.append(
                ExampleFault(
                    index=index,
                    id=ids[index],
                    reason=ContradictingLabels.reason,
                    message=f"The same content has the label {targets[index]} here and "
                    f"{targets[against]} at example "
                    f"{against}{f' ({ids[against]})' if ids[against] else ''}. Correct or remove one of "
                    "them.",
                )
            )
    return faults
