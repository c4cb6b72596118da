"""What a Predict asks for beside its inputs and versions."""

from collections.abc import Collection
from dataclasses import dataclass

from headstart_server.errors import InvalidField
from headstart_server.models.evidence import NEIGHBORS_FILE, TYPICALITY_FILE

#: Training examples told for each input.
MAX_NEIGHBORS = 100
#: Inputs of a call that saliency is told for: each takes some 50 passes of the backbone.
MAX_SALIENCY_INPUTS = 16
MAX_FALSE_ALARM_RATE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Abstention:
    """When an input is unknown.

    Attributes:
        false_alarm_rate: share of inputs like the training examples that may be told to be unknown, 0 to 0.5.
        min_probability: what the likeliest class must have, 0 to 1.
    """

    false_alarm_rate: float = 0.05
    min_probability: float = 0.0

    def check(self) -> None:
        """Check the ranges.

        Raises:
            InvalidField: names what is not in its range.
        """
        for name, value, high in (
            ("false_alarm_rate", self.false_alarm_rate, MAX_FALSE_ALARM_RATE),
            ("min_probability", self.min_probability, 1.0),
        ):
            # Written so that NaN fails.
            if not 0.0 <= value <= high:
                raise InvalidField(
                    f"Expected {name} from 0 to {high:g}. Received: {value}.", field=f"abstention.{name}"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class SaliencyOptions:
    """Which parts of pictures speak for an answer.

    Attributes:
        class_name: the class it is about; empty for each input's likeliest, and for regression.
        overlay: whether a picture is wanted too.
    """

    class_name: str = ""
    overlay: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictOptions:
    """What is asked for beside inputs and versions.

    Attributes:
        top_k: most classes for each input; 0 for all.
        with_features: whether the features are wanted too.
        abstention: when an input is unknown; None for never.
        neighbors: most training examples for each input.
        saliency: which parts of pictures speak for the first version's answer; None if not asked.
        skip_invalid: whether inputs that cannot be used are skipped, as long as others can.
    """

    top_k: int = 0
    with_features: bool = False
    abstention: Abstention | None = None
    neighbors: int = 0
    saliency: SaliencyOptions | None = None
    skip_invalid: bool = False

    def check(self, inputs: int) -> None:
        """Check what is asked for so many inputs.

        Raises:
            InvalidField: names what is not in its range.
        """
        if self.top_k < 0:
            raise InvalidField(
                f"Expected a top_k of 1 or more, or 0 for all classes. Received: {self.top_k}.", field="top_k"
            )
        if not 0 <= self.neighbors <= MAX_NEIGHBORS:
            raise InvalidField(
                f"Expected 0 to {MAX_NEIGHBORS} neighbors. Received: {self.neighbors}.", field="neighbors"
            )
        if self.abstention is not None:
            self.abstention.check()
        if self.saliency is not None and inputs > MAX_SALIENCY_INPUTS:
            raise InvalidField(
                f"Expected at most {MAX_SALIENCY_INPUTS} inputs with saliency. Received: {inputs}.",
                field="saliency",
            )

    @property
    def files(self) -> Collection[str]:
        """The names of the versions' files that are needed for it, beside heads."""
        files = []
        if self.abstention is not None:
            files.append(TYPICALITY_FILE)
        if self.neighbors:
            files.append(NEIGHBORS_FILE)
        return files
