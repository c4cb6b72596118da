"""A measurement of the data loop, its target and its result."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of a run.

    Attributes:
        quick: measure in short form: fewer seeds, rounds, calls, kills and versions.
        folder: an empty folder, deleted after the measurement.
    """

    quick: bool
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The result of one measurement.

    Attributes:
        value: the measured values with their units, as the table shows them.
        met: whether the target is met.
    """

    value: str
    met: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One measurement; the module `loop.<name>` has a function `measure(options) -> Result`.

    Attributes:
        name: the name for `--only` and of the module.
        measure: what is measured.
        target: the target.
    """

    name: str
    measure: str
    target: str

    def run(self, options: Options) -> Result:
        """Measure."""
        measure: Callable[[Options], Result] = importlib.import_module(f"loop.{self.name}").measure
        return measure(options)

    @property
    def exists(self) -> bool:
        """Whether the module of the measurement exists."""
        return (Path(__file__).parent / f"{self.name}.py").exists()


MEASUREMENTS = (
    Measurement(
        name="relabel",
        measure="relabel 20 of 1,000 examples and retrain, from the call to Predict",
        target="≤ 0.5 s, no backbone pass",
    ),
    Measurement(
        name="rounds",
        measure="accuracy after five rounds of 20 reviewed inputs, less five rounds of 20 random ones",
        target="more than one standard error, on two datasets",
    ),
    Measurement(
        name="capture",
        measure="p99 of Predict with capture on, divided by p99 with capture off",
        target="≤ 1.05",
    ),
    Measurement(
        name="kills",
        measure="kills during 2,000 feedbacks with retraining, on SQLite and PostgreSQL",
        target="each acknowledged feedback in exactly one next version",
    ),
    Measurement(
        name="erase",
        measure="erase an example of 200 versions of 1,000 examples, with rebuild",
        target="≤ 30 s, successors bit-equal to a fit without it",
    ),
    Measurement(
        name="influence",
        measure="influence of an example against a real refit, 100 pairs",
        target="≤ 1e-6",
    ),
)
