"""What a version told about one example that its head was not fitted on."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What was told about an example.

    Attributes:
        labels: the classes that were told: of a single label one, of several any number; none for regression.
        value: the number that was told; None but for regression.
        probability: of the true class (multi-label: the lowest of all right answers); None for regression.
        loss: log loss in nats (multi-label: mean over the classes); for regression the size of the error.
        held_out: whether the head answered an example held out of training; otherwise one fitted without the
            example's fold did.
        counted: whether it says something about the version. Not where the head that answered could not know the
            example's class.
    """

    labels: tuple[str, ...] = ()
    value: float | None = None
    probability: float | None = None
    loss: float
    held_out: bool = False
    counted: bool = True
