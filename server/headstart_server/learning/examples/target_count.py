"""Counts of labels, and the check that a head can learn from them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from headstart_server.errors import EmptyDataset, InvalidField, TooFewClasses
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task


@dataclass(kw_only=True, slots=True)
class TargetCount:
    """Counts labels as they arrive."""

    task: Task | None = None  # task of the first label; None before it
    total: int = 0  # number of labels
    held_out: int = 0  # number of held-out labels
    # number of examples of each class; soft labels count for their most probable class. A class that is never
    # the most probable has 0
    class_counts: Counter[str] = field(default_factory=Counter)
    _trained: Counter[str] = field(default_factory=Counter)
    _values: set[float] = field(default_factory=set)

    def add(self, target: Target, *, held_out: bool, times: int = 1) -> None:
        """Count a label `times` times; it must be of the same task as the others."""
        self.task = self.task or target.task
        self.total += times
        self.held_out += held_out * times
        counted = {target.label} if target.task is Task.SINGLE_LABEL else target.shares.keys()
        for name in target.shares:
            self.class_counts[name] += times * (name in counted)
        if not held_out:
            self._trained.update(dict.fromkeys(target.shares, times))
            if target.value is not None and len(self._values) < 2:
                self._values.add(target.value)

    def check(self) -> None:
        """Check that a head can be fitted on the training examples and tested on the held-out ones."""
        trained = self.total - self.held_out
        if not trained:
            problem = "All examples are held out" if self.total else "There are no examples"
            raise EmptyDataset(f"{problem}. Send examples of {_EXPECTED[self.task]} to train on.")
        if self.task is Task.REGRESSION:
            self._check_values(trained)
        elif self.task is Task.MULTI_LABEL:
            self._check_label_sets(trained)
        elif len(self._trained) == 1:
            trained_on = "1 example" if trained == 1 else f"{trained} examples, all"
            raise TooFewClasses(
                "Expected examples of at least two classes to train on. "
                f"Received: {trained_on} of class {next(iter(self._trained))!r}."
            )
        unknown = sorted(self.class_counts.keys() - self._trained.keys())
        if unknown:
            raise InvalidField(
                "Every held-out class needs examples to train on. "
                f"Received: class {unknown[0]!r} with held-out examples only.",
                field="examples",
            )

    def _check_values(self, trained: int) -> None:
        if len(self._values) < 2:
            raise InvalidField(
                "Expected examples of at least two different values to train on. "
                f"Received: {trained} examples, all of value {next(iter(self._values)):g}.",
                field="examples",
            )

    def _check_label_sets(self, trained: int) -> None:
        if any(count < trained for count in self._trained.values()):
            return
        labels = ", ".join(map(repr, sorted(self._trained)[:5])) if self._trained else "none"
        raise TooFewClasses(
            "Expected at least one class that some examples to train on have and others lack. "
            f"Received: {trained} examples, all with the same labels: {labels}."
        )


_EXPECTED = {
    None: "at least two classes",
    Task.SINGLE_LABEL: "at least two classes",
    Task.MULTI_LABEL: "a class that some have and others lack",
    Task.REGRESSION: "at least two different values",
}


def check_trainable(targets: Iterable[tuple[Target, bool]]) -> None:
    """Check pairs of a label and whether it is held out, like `TargetCount.check`."""
    targets = list(targets)
    # A list that was read shares one target among all examples of a class.
    distinct = {(id(target), held_out): target for target, held_out in targets}
    times = Counter((id(target), held_out) for target, held_out in targets)
    count = TargetCount()
    for key, target in distinct.items():
        count.add(target, held_out=key[1], times=times[key])
    count.check()
