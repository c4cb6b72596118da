"""Examples, what they must be like, and the identity of a dataset."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from headstart_server.backbones.backbone import Content
from headstart_server.errors import (
    DatasetTooLarge,
    EmptyDataset,
    InputTooLarge,
    InvalidField,
    InvalidLabel,
    TooFewClasses,
    TooManyClasses,
)

#: Bytes of a label or an id, in UTF-8.
MAX_LABEL_BYTES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetLimits:
    """How large a dataset may be.

    Attributes:
        max_examples: most examples.
        max_bytes: most bytes of all inputs together.
        max_input_bytes: most bytes of one input.
        max_classes: most classes.
    """

    max_examples: int = 50_000
    max_bytes: int = 4 << 30
    max_input_bytes: int = 32 << 20
    max_classes: int = 1_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Example:
    """One labelled input.

    Attributes:
        content: what is learned from.
        label: the name of its class.
        id: the caller's name for it; may be empty.
        held_out: True keeps it out of training.
    """

    content: Content
    label: str
    id: str = ""
    held_out: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleFault:
    """An example that cannot be used.

    Attributes:
        index: its place in the stream, from 0.
        id: the caller's name for it.
        reason: a reason of the contract, such as UNDECODABLE_INPUT.
        message: what was expected and what came.
    """

    index: int
    id: str
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetSummary:
    """What is known of a dataset without its inputs.

    Attributes:
        example_count: number of examples.
        class_counts: number of examples of each class, by name.
        held_out_count: number of examples marked as held out.
        digest: SHA-256 over contents and labels, the same for any order of the examples.
    """

    example_count: int
    class_counts: dict[str, int]
    held_out_count: int
    digest: str


@dataclass(kw_only=True, slots=True)
class DatasetCount:
    """Counts examples as they come, and refuses the first that breaks a limit.

    Attributes:
        limits: how large the dataset may be.
    """

    limits: DatasetLimits
    _count: int = 0
    _nbytes: int = 0
    _held_out: int = 0
    _classes: Counter[str] = field(default_factory=Counter)
    _trained_classes: set[str] = field(default_factory=set)
    _members: list[bytes] = field(default_factory=list)

    def add(self, example: Example, content_digest: str) -> None:
        """Count one example.

        Raises:
            InvalidLabel, InvalidField, InputTooLarge, DatasetTooLarge or TooManyClasses: names the example.
        """
        index, limits = self._count, self.limits
        size = _content_bytes(example.content)
        check_label(example.label, index)
        check_id(example.id, index)
        if size > limits.max_input_bytes:
            raise InputTooLarge(
                f"Example {index} is too large. Expected at most {limits.max_input_bytes} bytes. "
                f"Received: {size}.",
                field=f"examples[{index}].input",
            )
        self._count += 1
        self._nbytes += size
        self._held_out += example.held_out
        self._classes[example.label] += 1
        if not example.held_out:
            self._trained_classes.add(example.label)
        self._members.append(
            sha256(f"{content_digest}\0{example.label}\0{int(example.held_out)}".encode()).digest()
        )
        self._check_totals()

    def summary(self) -> DatasetSummary:
        """What came, once all has come.

        Raises:
            EmptyDataset or TooFewClasses: it cannot be trained on.
        """
        check_trainable(self._trained_classes, self._count, self._held_out)
        check_held_out(self._classes, self._trained_classes)
        return DatasetSummary(
            example_count=self._count,
            class_counts=dict(sorted(self._classes.items())),
            held_out_count=self._held_out,
            digest=sha256(b"".join(sorted(self._members))).hexdigest(),
        )

    def _check_totals(self) -> None:
        limits = self.limits
        for what, count, limit in (
            ("examples", self._count, limits.max_examples),
            ("bytes", self._nbytes, limits.max_bytes),
        ):
            if count > limit:
                raise DatasetTooLarge(
                    f"The dataset is too large. Expected at most {limit} {what}. Received: {count} and more.",
                    metadata={"limit": str(limit), "subject": what},
                )
        if len(self._classes) > limits.max_classes:
            raise TooManyClasses(
                f"The dataset has too many classes. Expected at most {limits.max_classes}. "
                f"Received: example {self._count - 1} opens class {len(self._classes)}.",
                metadata={"limit": str(limits.max_classes)},
            )


def check_trainable(classes: Iterable[str], count: int, held_out: int = 0) -> None:
    """Check that the classes of the examples to train on can be told apart.

    Raises:
        EmptyDataset: there is none.
        TooFewClasses: there is one.
    """
    names = sorted(set(classes))
    if not names:
        came = f"{count} examples, {held_out} of them held out" if count else "no example"
        raise EmptyDataset(f"Expected examples of at least two classes to train on. Received: {came}.")
    if len(names) == 1:
        raise TooFewClasses(
            "Expected examples of at least two classes to train on. "
            f"Received: {count - held_out} examples, all of class {names[0]!r}."
        )


def check_held_out(classes: Iterable[str], trained: Iterable[str]) -> None:
    """Check that every class has examples to train on, not held-out ones only.

    Raises:
        InvalidField: names the first that has not.
    """
    unknown = sorted(set(classes) - set(trained))
    if unknown:
        raise InvalidField(
            "Every held-out class needs examples to train on. "
            f"Received: class {unknown[0]!r} with held-out examples only.",
            field="examples",
        )


def check_label(label: str, index: int) -> None:
    """Check a label.

    Raises:
        InvalidLabel: it is empty, too long or has control characters.
    """
    size = len(label.encode())
    field = f"examples[{index}].label"
    if not label.strip():
        came = "an empty label" if not label else "a blank label"
        raise InvalidLabel(
            f"Example {index} has no label. Expected the name of its class. Received: {came}.", field=field
        )
    if size > MAX_LABEL_BYTES:
        raise InvalidLabel(
            f"The label of example {index} is too long. Expected at most {MAX_LABEL_BYTES} bytes. "
            f"Received: {size}, beginning with {label[:24]!r}.",
            field=field,
        )
    control = next((char for char in label if unicodedata.category(char) == "Cc"), None)
    if control is not None:
        raise InvalidLabel(
            f"The label of example {index} has a control character. Received: {label!r}.", field=field
        )


def check_id(example_id: str, index: int) -> None:
    """Check the caller's name for an example.

    Raises:
        InvalidField: it is too long.
    """
    size = len(example_id.encode())
    if size > MAX_LABEL_BYTES:
        raise InvalidField(
            f"The id of example {index} is too long. Expected at most {MAX_LABEL_BYTES} bytes. "
            f"Received: {size}.",
            field=f"examples[{index}].id",
        )


def _content_bytes(content: Content) -> int:
    if isinstance(content, bytes):
        return len(content)
    return len(content.encode()) if isinstance(content, str) else content.nbytes
