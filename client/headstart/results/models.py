"""Models, their versions and aliases, and the backbones under them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from headstart.display import facts, figure, percent, table
from headstart.inputs.task import Task
from headstart.results.choosing import BackboneSelection
from headstart.results.comparisons import Promotion
from headstart.results.energy import Energy
from headstart.spec import Recipe

__all__ = [
    "Alias",
    "AliasEvent",
    "AliasEventCause",
    "Backbone",
    "BackboneStatus",
    "ConfusionCell",
    "ErasedExample",
    "Lineage",
    "Metrics",
    "MetricsSource",
    "Modality",
    "Model",
    "StopReason",
    "Traffic",
    "Version",
    "VersionTraffic",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    """A movable name for a version.

    Attributes:
        alias: such as ``stable``.
        version: the number of the version it names.
        etag: changes with every move and with the shares; give it to `set_alias` to move it only if no one
            else did.
        update_time: when it was last moved.
        traffic: by number the share of the calls to predict that other versions answer.
    """

    alias: str
    version: int
    etag: str
    update_time: datetime
    traffic: Mapping[int, float] = field(default_factory=dict, hash=False)


class AliasEventCause(StrEnum):
    """Why an alias was moved. UNSPECIFIED: for a cause that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    SET = "SET"
    PUBLISHED = "PUBLISHED"
    DELETED = "DELETED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasEvent:
    """A move of an alias.

    Attributes:
        model: the model.
        alias: the alias.
        event_time: when it was moved.
        cause: why it was moved.
        principal: the caller who moved it, or who sent the job that did; empty without authentication.
        job_id: the job that moved it; empty for none.
        previous_version: the version that the alias named before; None if it is new.
        version: the version that the alias named afterwards; None if it was removed.
        previous_traffic: by version, the fraction of the calls that other versions answered before.
        traffic: by version, the fraction of the calls that other versions answered afterwards.
    """

    model: str
    alias: str
    event_time: datetime
    cause: AliasEventCause
    principal: str
    job_id: str
    previous_version: int | None
    version: int | None
    previous_traffic: Mapping[int, float] = field(default_factory=dict, hash=False)
    traffic: Mapping[int, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionTraffic:
    """The traffic of a version in a window of time.

    Attributes:
        version: the version.
        request_count: number of calls to predict that reached it.
        error_count: number of those that failed, or whose caller left.
        input_count: number of inputs of the calls that were answered.
        unknown_count: number of inputs that were unknown to it, of calls with abstention.
        latency_p50_duration: median latency, within 10 %; None without an answered call.
        latency_p90_duration: latency that 90 % of the calls do not exceed.
        latency_p99_duration: latency that 99 % of the calls do not exceed.
        sample_count: number of inputs that were sampled for drift.
        feature_drift: distance of the mean of the inputs from that of the training examples, in standard
            deviations of these; None if too few inputs were sampled.
        prediction_drift: population stability index of the predictions against those of the evaluation.
        confidence_drift: change of the mean probability of the predicted class since the evaluation.
    """

    version: int
    request_count: int
    error_count: int
    input_count: int
    unknown_count: int
    latency_p50_duration: timedelta | None
    latency_p90_duration: timedelta | None
    latency_p99_duration: timedelta | None
    sample_count: int
    feature_drift: float | None
    prediction_drift: float | None
    confidence_drift: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """The traffic of a model's versions in a window of time, summed over all replicas.

    Attributes:
        start_time: the beginning of the window, rounded down to 5 minutes.
        end_time: the end of the window.
        versions: the versions that had traffic, by number.
    """

    start_time: datetime
    end_time: datetime
    versions: tuple[VersionTraffic, ...]


class MetricsSource(StrEnum):
    """The examples that metrics were measured on. UNSPECIFIED: a value that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    NONE = "NONE"
    OUT_OF_FOLD = "OUT_OF_FOLD"
    HELD_OUT = "HELD_OUT"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfusionCell:
    """How often one class was taken for another, or for itself.

    Attributes:
        actual: index of the true class.
        predicted: index of the class that was predicted.
        count: the examples.
    """

    actual: int
    predicted: int
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """How good a version is, measured on examples that its head was not fitted on.

    Attributes:
        source: how it was measured.
        example_count: the examples it was measured on; 0 if there was no way to measure.
        accuracy: the share classified right, 0 to 1; None if it could not be measured.
        accuracy_low: lower end of its 95 % interval.
        accuracy_high: upper end of its 95 % interval.
        log_loss: mean negative log-likelihood of the right class, in nats.
        confusion: the cells of the confusion matrix that are not zero.
        balanced_accuracy: mean recall of the classes, 0 to 1.
        macro_f1: mean F1 of the classes, 0 to 1.
        micro_f1: F1 over all classes together, 0 to 1; multi-label only, where `accuracy` is the share of
            inputs with every class right.
        calibration_error: how far probabilities lie from the shares that come true (ECE), 0 to 1.
        mean_absolute_error: mean size of the error; only of numbers, as the next two.
        root_mean_squared_error: root of the mean squared error.
        r_squared: the share of the variance that is explained; 1 at best.
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
        """The first figure, such as ``accuracy 95.0%`` or ``mean absolute error 0.21``."""
        if self.accuracy is not None:
            return f"accuracy {self.accuracy:.1%}"
        if self.mean_absolute_error is not None:
            return f"mean absolute error {self.mean_absolute_error:.3g}"
        return "not measured"

    def __repr__(self) -> str:
        where = self.source.lower().replace("_", " ")
        return f"Metrics({self.summary}, {where}, {self.example_count} examples)"


class StopReason(StrEnum):
    """Why a solver stopped. UNSPECIFIED: a reason that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    CLOSED_FORM = "CLOSED_FORM"
    CONVERGED = "CONVERGED"
    STEPS = "STEPS"
    TIME = "TIME"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """Where a version came from: all that is needed to make it again.

    Attributes:
        job_id: the job that published it.
        backbone: the backbone's name.
        backbone_digest: SHA-256 of its weights, architecture and preprocessing, hexadecimal.
        dataset_digest: SHA-256 of examples and labels, hexadecimal.
        recipe: as it was carried out, with every choice made.
        seed: of every random choice.
        example_count: the examples that were trained on.
        software: the version of Headstart that made it.
        runtime: what executed the backbone and in which precision, such as ``openvino bfloat16``.
        stop_reason: why the solver ended.
        fit_duration: duration of fitting the head; None if unknown.
        parent_version: the version whose examples it was trained on too; None: none.
        added_example_count: the examples that came with the fine-tune itself.
        removed_example_count: the parent's examples that were left out or replaced.
        trained_blocks: the backbone's last blocks that are the version's own.
        note: what a person should know of how the head came about; may be empty.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One immutable fitted head, and where it came from.

    Attributes:
        model: the model.
        version: 1 for a model's first version, then one more for each.
        create_time: when it was published.
        expire_time: when it will be deleted; None: never.
        display_name: a title for people.
        tags: key-value pairs given with the fine-tune.
        class_names: in the order of `ClassProbability.index`.
        metrics: how good it is.
        lineage: where it came from.
        size_bytes: the size of its files.
        aliases: the aliases that name it.
        task: the kind of label it predicts.
        thresholds: for a multi-label version, by class the probability from which on it is taken to apply.
        promotion: whether and why an alias was moved to it; None without ``promote_if``.
        has_examples: whether its examples are kept, so that it can be a parent.
        backbone_selection: how its backbone was chosen; None unless the fine-tune used ``auto``.
        energy: what the run that made it cost; None if nothing is known of it.
        description: a description for people.
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
        return (
            f"Version({self.model}@{self.version}, {self.metrics.summary}, {len(self.class_names)} classes)"
        )

    def confusion_matrix(self) -> NDArray[np.int64]:
        """Counts of shape [classes, classes]: the true class by row, the predicted one by column."""
        matrix = np.zeros((len(self.class_names),) * 2, np.int64)
        for cell in self.metrics.confusion:
            matrix[cell.actual, cell.predicted] = cell.count
        return matrix


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A name under which versions are kept.

    Attributes:
        model: the name.
        create_time: when its first version was published.
        newest_version: the number of its newest version; None if all were deleted.
        version_count: the number of its versions.
        aliases: its aliases, by name.
        versions: its versions, the newest first; empty in a list of models.
        display_name: a title for people.
        description: a description for people.
        tags: key-value pairs.
    """

    model: str
    create_time: datetime
    newest_version: int | None
    version_count: int
    aliases: tuple[Alias, ...]
    versions: tuple[Version, ...] = ()
    display_name: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __repr__(self) -> str:
        aliases = "".join(f", {each.alias}: {each.version}" for each in self.aliases)
        count = f"{self.version_count} version" + ("" if self.version_count == 1 else "s")
        return f"Model({self.model!r}, {count}{aliases})"

    def _repr_html_(self) -> str:
        rows = [
            (
                each.version,
                each.metrics.summary,
                len(each.class_names),
                each.lineage.backbone,
                ", ".join(each.aliases),
            )
            for each in self.versions
        ]
        header = ("version", "quality", "classes", "backbone", "aliases")
        return figure(self.model, table(rows, header), note=f"{self.version_count:,} versions")


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasedExample:
    """What became of an example whose data was deleted.

    Attributes:
        versions: model and number of the versions that were trained on it. They are not changed: what they
            learned of it goes only when they are deleted.
        unread_versions: the versions of which it is not known, because the list of their examples is damaged.
        job_ids: the jobs under way that had it; one that has not read it yet leaves it out.
        deleted_contents: how many contents were deleted; 0 if none was kept any more.
    """

    versions: tuple[tuple[str, int], ...]
    unread_versions: tuple[tuple[str, int], ...]
    job_ids: tuple[str, ...]
    deleted_contents: int


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:8])
    return f"{len(names):,}: {shown}" + (", …" if len(names) > 8 else "") if names else ""


class Modality(StrEnum):
    """What a backbone takes."""

    UNSPECIFIED = "UNSPECIFIED"
    IMAGE = "IMAGE"
    TEXT = "TEXT"
    TENSOR = "TENSOR"


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneStatus:
    """The status of a backbone on one replica. Other replicas may differ.

    Attributes:
        backbone: the name of the backbone.
        ready: whether the replica has loaded the backbone; if not, the first call that needs it loads it.
        digest: SHA-256 of weights, architecture and preprocessing, hexadecimal; empty unless ``ready``.
        runtime: runtime and precision, such as ``openvino bfloat16``; empty unless ``ready``.
        problem: why the last attempt to prepare or load the backbone failed; empty if it did not.
    """

    backbone: str
    ready: bool
    digest: str
    runtime: str
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Backbone:
    """A frozen pretrained network that heads are fitted on.

    Attributes:
        backbone: the name.
        modality: what it takes.
        views: the views it gives and the size of each; empty while one that was declared is not prepared.
        input_size: what inputs are brought to: height and width of pictures in pixels; the most tokens of a
            text, which is cut short there; the size of a tensor.
        parameter_count: its parameters.
        source: where its weights come from.
        license: of its weights, an SPDX identifier.
        default: True if it is used where none is named and the first input is of its modality.
        description: what it is, in a sentence.
        status: the status of the backbone on the replica that responded.
    """

    backbone: str
    modality: Modality
    views: Mapping[str, int]
    input_size: tuple[int, ...]
    parameter_count: int
    source: str
    license: str
    default: bool
    description: str
    status: BackboneStatus
