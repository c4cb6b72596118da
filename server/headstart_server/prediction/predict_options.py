"""The options of a Predict call."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from headstart_server.errors import InvalidField
from headstart_server.models.evidence import NEIGHBORS_FILE, TYPICALITY_FILE

#: Maximum training examples returned for each input.
MAX_NEIGHBORS = 100
MAX_INFLUENCES = 100
#: Maximum inputs of a call with influence: each is compared with all training examples.
MAX_INFLUENCE_INPUTS = 64
#: Maximum inputs of a call with saliency: each takes about 50 passes of the backbone.
MAX_SALIENCY_INPUTS = 16
MAX_FALSE_ALARM_RATE = 0.5
#: Maximum classes and training examples that one response lists.
MAX_LISTED = 300_000
#: Maximum outputs of all heads of a call with several targets.
MAX_OUTPUTS = 2_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Abstention:
    """The conditions under which an input is unknown."""

    # fraction of inputs like the training examples that may be unknown, 0 to 0.5
    false_alarm_rate: float = 0.05
    min_probability: float = 0.0  # minimum probability of the most probable class, 0 to 1

    def check(self) -> None:
        """Check the ranges; raise InvalidField with the field that is out of range."""
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
    """The options of saliency maps: the parts of images that support a prediction."""

    class_name: str = ""  # the explained class; empty for the most probable one, and for regression
    overlay: bool = False  # whether an image with the map is also returned


class PredictOptions(NamedTuple):
    """The options of a Predict call."""

    top_k: int = 0  # maximum classes for each input; 0 for all
    with_features: bool = False  # whether features are also returned
    abstention: Abstention | None = None  # conditions of unknown inputs; None for none
    neighbors: int = 0  # maximum training examples for each input
    influence: int = 0  # maximum influential training examples for each input
    # saliency maps of the first version's prediction; None for none
    saliency: SaliencyOptions | None = None
    skip_invalid: bool = False  # whether invalid inputs are skipped, unless all are invalid

    def check(self, inputs: int) -> None:
        """Check the ranges for a number of inputs; raise InvalidField with the field that is out of range."""
        if self.top_k < 0:
            raise InvalidField(
                f"Expected a top_k of 1 or more, or 0 for all classes. Received: {self.top_k}.", field="top_k"
            )
        if not 0 <= self.neighbors <= MAX_NEIGHBORS:
            raise InvalidField(
                f"Expected 0 to {MAX_NEIGHBORS} neighbors. Received: {self.neighbors}.", field="neighbors"
            )
        if not 0 <= self.influence <= MAX_INFLUENCES:
            raise InvalidField(
                f"Expected an influence of 0 to {MAX_INFLUENCES} examples. Received: {self.influence}.",
                field="influence",
            )
        if self.influence and inputs > MAX_INFLUENCE_INPUTS:
            raise InvalidField(
                f"Expected at most {MAX_INFLUENCE_INPUTS} inputs with influence. Received: {inputs}.",
                field="influence",
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
        """Names of the versions' files that are needed in addition to heads."""
        files = []
        if self.abstention is not None:
            files.append(TYPICALITY_FILE)
        if self.neighbors:
            files.append(NEIGHBORS_FILE)
        return files


def check_listed(listed: int, inputs: int) -> None:
    """Check the number of classes and training examples of a response; raise InvalidField above the limit."""
    if listed > MAX_LISTED:
        raise InvalidField(
            f"Expected at most {MAX_LISTED:,} classes and training examples in one response. Received: "
            f"{listed:,} for {inputs:,} inputs. Request fewer for each input, or send fewer inputs or "
            "targets in one call.",
            field="inputs",
        )


def check_outputs(outputs: int) -> None:
    """Check the outputs of the heads of a call with several targets; raise InvalidField above the limit."""
    if outputs > MAX_OUTPUTS:
        raise InvalidField(
            f"Expected at most {MAX_OUTPUTS:,} outputs of a call with several targets: its inputs times the "
            f"classes of all targets. Received: {outputs:,}. Send fewer inputs or targets in one call.",
            field="targets",
        )
