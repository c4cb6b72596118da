"""Versions: metrics, lineage and the version itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from headstart.display import facts, figure, percent
from headstart.inputs.task import Task
from headstart.results.comparisons import BackboneSelection, Promotion
from headstart.results.energy import Energy
from headstart.spec import Recipe


class MetricsSource(StrEnum):
    """The examples that metrics were measured on. UNSPECIFIED: a value that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    NONE = "NONE"
    OUT_OF_FOLD = "OUT_OF_FOLD"
    HELD_OUT = "HELD_OUT"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfusionCell:
    """A cell of a confusion matrix.

    Attributes:
        actual: index of the true class.
        predicted: index of the predicted class.
        count: number of examples.
    """

    actual: int
    predicted: int
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """Metrics of a version, on examples that its head was not trained on.

    Attributes:
        source: source of the examples.
        example_count: number of measured examples; 0 if measuring was not possible.
        accuracy: fraction of correct predictions, 0 to 1; None if not measured.
        accuracy_low: lower end of its 95 % interval.
        accuracy_high: upper end of its 95 % interval.
        log_loss: mean negative log-likelihood of the true class, in nats.
        confusion: nonzero cells of the confusion matrix.
        balanced_accuracy: mean recall of the classes, 0 to 1.
        macro_f1: mean F1 of the classes, 0 to 1.
        micro_f1: F1 over all classes together, 0 to 1; multi-label only, where `accuracy` is the fraction of
            inputs with every class correct.
        calibration_error: expected calibration error (ECE), 0 to 1.
        mean_absolute_error: mean absolute error; only of a regression, as the next two.
        root_mean_squared_error: root of the mean squared error.
        r_squared: coefficient of determination, at most 1.
    """

    source: MetricsSource
    example_count: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    log_loss: float | None
    confusion: tuple[ConfusionCell, ...]
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    micro_f1: float | None = None
    calibration_error: float | None = None
    mean_absolute_error: float | None = None
    root_mean_squared_error: float | None = None
    r_squared: float | None = None

    @property
    def summary(self) -> str:
        """The main metric, such as ``accuracy 95.0%`` or ``mean absolute error 0.21``."""
        if self.accuracy is not None:
            return f"accuracy {self.accuracy:.1%}"
        if self.mean_absolute_error is not None:
            return f"mean absolute error {self.mean_absolute_error:.3g}"
        return "not measured"

    def __repr__(self) -> str:
        where = self.source.lower().replace("_", " ")
        return f"Metrics({self.summary}, {where}, {self.example_count} examples)"


class StopReason(StrEnum):
    """The reason why a solver stopped. UNSPECIFIED: a reason that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    CLOSED_FORM = "CLOSED_FORM"
    CONVERGED = "CONVERGED"
    STEPS = "STEPS"
    TIME = "TIME"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """The origin of a version: everything needed to train it again.

    Attributes:
        job_id: job that published it.
        backbone: name of the backbone.
        backbone_digest: SHA-256 of the backbone's weights, architecture and preprocessing, hexadecimal.
        dataset_digest: SHA-256 of examples and labels, hexadecimal.
        recipe: the recipe with every selected setting.
        seed: seed of every random choice.
        example_count: number of training examples.
        software: release of Headstart that trained it.
        runtime: runtime and precision of the backbone, such as ``openvino bfloat16``.
        stop_reason: reason why the solver stopped.
        fit_duration: duration of fitting the head; None if unknown.
        parent_version: version whose examples it was also trained on; None: no parent.
        added_example_count: number of examples that the fine-tune sent.
        removed_example_count: number of the parent's examples that were removed or replaced.
        trained_blocks: number of the backbone's last blocks that were trained with the head.
        note: note for people about the training; may be empty.
        edited_example_count: number of the parent's examples that were changed.
        feedback_count: number of examples that were learned from feedback.
    """

    job_id: str
    backbone: str
    backbone_digest: str
    dataset_digest: str
    recipe: Recipe
    seed: int
    example_count: int
    software: str
    runtime: str
    stop_reason: StopReason = StopReason.CLOSED_FORM
    fit_duration: timedelta | None = None
    parent_version: int | None = None
    added_example_count: int = 0
    removed_example_count: int = 0
    trained_blocks: int = 0
    note: str = ""
    edited_example_count: int = 0
    feedback_count: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """An immutable trained head and its lineage.

    Attributes:
        model: the model.
        version: number of the version within the model, from 1.
        create_time: time of publication.
        expire_time: time of deletion; None: never.
        display_name: title for people.
        tags: key-value pairs.
        class_names: names in the order of `ClassProbability.index`.
        metrics: metrics of the version.
        lineage: origin of the version.
        size_bytes: size of its files.
        aliases: aliases that name it.
        task: kind of label that it predicts.
        thresholds: minimum probability at which a class is predicted, by class; multi-label only.
        promotion: result of the conditional promotion; None without ``promote_if``.
        has_examples: whether its examples are stored, so that it can be a parent.
        backbone_selection: selection of its backbone; None unless the fine-tune used ``auto``.
        energy: energy of its training; None if unknown.
        description: description for people.
    """

    model: str
    version: int
    create_time: datetime
    expire_time: datetime | None
    display_name: str
    tags: Mapping[str, str]
    class_names: tuple[str, ...]
    metrics: Metrics
    lineage: Lineage
    size_bytes: int
    aliases: tuple[str, ...]
    task: Task = Task.UNSPECIFIED
    thresholds: Mapping[str, float] = field(default_factory=dict)
    promotion: Promotion | None = None
    has_examples: bool = False
    backbone_selection: BackboneSelection | None = None
    energy: Energy | None = None
    description: str = ""

    def _repr_html_(self) -> str:
        metrics, lineage = self.metrics, self.lineage
        source = metrics.source.lower().replace("_", " ")
        rows = (
            ("accuracy", percent(metrics.accuracy)),
            ("balanced accuracy", percent(metrics.balanced_accuracy)),
            ("mean absolute error", metrics.mean_absolute_error),
            ("measured on", f"{metrics.example_count:,} examples, {source}"),
            ("classes", _listed(self.class_names)),
            ("trained on", f"{lineage.example_count:,} examples"),
            ("backbone", lineage.backbone),
            ("recipe", type(lineage.recipe).__name__.lower()),
            ("aliases", ", ".join(self.aliases)),
            ("created", f"{self.create_time:%Y-%m-%d %H:%M} UTC"),
        )
        return figure(f"{self.model}@{self.version}", facts(rows), note=self.display_name)

    def __repr__(self) -> str:
        classes = f", {len(self.class_names)} classes" if self.class_names else ""
        return f"Version({self.model}@{self.version}, {self.metrics.summary}{classes})"

    def confusion_matrix(self) -> NDArray[np.int64]:
        """The counts, of shape [classes, classes]: the true class by row, the predicted one by column."""
        matrix = np.zeros((len(self.class_names),) * 2, np.int64)
        for cell in self.metrics.confusion:
            matrix[cell.actual, cell.predicted] = cell.count
        return matrix


def _listed(names: tuple[str, ...]) -> str:
    listed = ", ".join(names[:8])
    return f"{len(names):,}: {listed}" + (", …" if len(names) > 8 else "") if names else ""
