"""Models, versions, aliases and backbones."""

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
from headstart.results.policies import CapturePolicy, RetrainPolicy
from headstart.spec import Recipe

__all__ = [
    "Alias",
    "AliasEvent",
    "AliasEventCause",
    "Backbone",
    "BackboneStatus",
    "ConfusionCell",
    "ErasedExample",
    "ErasureCertificate",
    "Lineage",
    "Metrics",
    "MetricsSource",
    "Modality",
    "Model",
    "RebuiltVersion",
    "StopReason",
    "Traffic",
    "TrafficPoint",
    "Version",
    "VersionTraffic",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    """A movable name of a version.

    Attributes:
        alias: name of the alias, such as ``stable``.
        version: number of its version.
        etag: changes with every move and traffic split; pass it to `set_alias` to reject concurrent moves.
        update_time: time of the last move.
        traffic: fraction of the Predict calls that other versions answer, 0 to 1, by number.
    """

    alias: str
    version: int
    etag: str
    update_time: datetime
    traffic: Mapping[int, float] = field(default_factory=dict, hash=False)


class AliasEventCause(StrEnum):
    """Why an alias was moved. UNSPECIFIED: a cause that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    SET = "SET"
    PUBLISHED = "PUBLISHED"
    DELETED = "DELETED"
    EXPIRED = "EXPIRED"
    ERASED = "ERASED"


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasEvent:
    """A move of an alias.

    Attributes:
        model: the model.
        alias: the alias.
        event_time: time of the move.
        cause: cause of the move.
        principal: the caller who moved it, or who sent the job that did; empty without authentication.
        job_id: the job that moved it; may be empty.
        previous_version: version of the alias before the move; None if the alias is new.
        version: version of the alias after the move; None if the alias was removed.
        previous_traffic: fraction of the calls of other versions before the move, by number.
        traffic: fraction of the calls of other versions after the move, by number.
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
        request_count: number of Predict calls.
        error_count: number of calls that failed, or whose caller disconnected.
        input_count: number of predicted inputs.
        unknown_count: number of inputs reported as unknown, of calls with abstention.
        latency_p50_duration: median latency, within 10 %; None without a successful call.
        latency_p90_duration: 90th percentile of the latency.
        latency_p99_duration: 99th percentile of the latency.
        sample_count: number of inputs sampled for drift.
        feature_drift: distance of the inputs' mean from the training examples' mean, in standard deviations
            of the training examples; None if too few inputs were sampled.
        prediction_drift: population stability index of the predictions against the evaluation.
        confidence_drift: change of the mean probability of the predicted class since the evaluation.
        compared_count: number of sampled inputs that this version, as part of a traffic split, and the
            version that the alias names both predicted.
        agreed_count: number of these inputs that both predict alike.
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
    compared_count: int = 0
    agreed_count: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrafficPoint:
    """The requests within an interval of a window of time, over all versions.

    Attributes:
        start_time: start of the interval.
        request_count: number of Predict calls.
        error_count: number of calls that failed, or whose caller disconnected.
    """

    start_time: datetime
    request_count: int
    error_count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """The traffic of a model's versions in a window of time, summed over all replicas.

    Attributes:
        start_time: start of the window, rounded down to 5 minutes.
        end_time: end of the window.
        versions: versions with traffic, by number.
        points: requests over time, the oldest first, at most 49. Empty for a server without them.
    """

    start_time: datetime
    end_time: datetime
    versions: tuple[VersionTraffic, ...]
    points: tuple[TrafficPoint, ...] = ()


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
    """Why a solver stopped. UNSPECIFIED: a reason that this client does not know."""

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
        return (
            f"Version({self.model}@{self.version}, {self.metrics.summary}, {len(self.class_names)} classes)"
        )

    def confusion_matrix(self) -> NDArray[np.int64]:
        """The counts, of shape [classes, classes]: the true class by row, the predicted one by column."""
        matrix = np.zeros((len(self.class_names),) * 2, np.int64)
        for cell in self.metrics.confusion:
            matrix[cell.actual, cell.predicted] = cell.count
        return matrix


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A named sequence of versions.

    Attributes:
        model: the name.
        create_time: time when its first version was published.
        newest_version: number of its newest version; None if all were deleted.
        version_count: number of its versions.
        aliases: its aliases, by name.
        versions: its versions, newest first; empty in a list of models.
        display_name: title for people.
        description: description for people.
        tags: key-value pairs.
        capture: which inputs of Predict calls are stored for review; None for none.
        retrain: when the model is retrained from feedback; None for never.
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
    capture: CapturePolicy | None = None
    retrain: RetrainPolicy | None = None

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
class RebuiltVersion:
    """A version that was trained on an erased example, and its successor.

    Attributes:
        model: the model.
        version: number of the version, which was deleted unless it was skipped.
        head_digest: SHA-256 of its head.
        dataset_digest: digest of its dataset.
        new_version: number of the successor; None if the version was skipped.
        new_head_digest: SHA-256 of the head of the successor.
        new_dataset_digest: digest of the dataset of the successor.
        aliases: aliases that moved to the successor.
        promotion: decision of the default gate about the successor; None without an alias. The aliases moved
            in any case.
        skipped_reason: problem and remedy if the version could not be replaced; else empty.
    """

    model: str
    version: int
    head_digest: str
    dataset_digest: str
    new_version: int | None
    new_head_digest: str
    new_dataset_digest: str
    aliases: tuple[str, ...]
    promotion: Promotion | None
    skipped_reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasureCertificate:
    """What an erasure with rebuild did.

    Attributes:
        request_id: ID of the request.
        example_id: ID of the example.
        start_time: when the erasure began.
        end_time: when it was complete.
        versions: the versions that were trained on the example, with their successors.
        deleted_contents: number of stored contents that were deleted.
    """

    request_id: str
    example_id: str
    start_time: datetime
    end_time: datetime | None
    versions: tuple[RebuiltVersion, ...]
    deleted_contents: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasedExample:
    """The result of erasing an example.

    Attributes:
        versions: model and number of the versions that were trained on it. Without ``rebuild`` they are not
            changed: delete them to remove what they learned from it.
        unread_versions: versions whose list of examples is damaged and could not be searched.
        job_ids: unfinished jobs that had it; a job that has not read it yet skips it.
        deleted_contents: number of deleted contents; 0 if none was stored.
        certificate: what was replaced; only with ``rebuild``.
        datasets: names of the datasets that had it; they do not have it any more.
    """

    versions: tuple[tuple[str, int], ...]
    unread_versions: tuple[tuple[str, int], ...]
    job_ids: tuple[str, ...]
    deleted_contents: int
    certificate: ErasureCertificate | None = None
    datasets: tuple[str, ...] = ()


def _listed(names: tuple[str, ...]) -> str:
    listed = ", ".join(names[:8])
    return f"{len(names):,}: {listed}" + (", …" if len(names) > 8 else "") if names else ""


class Modality(StrEnum):
    """The kind of input of a backbone."""

    UNSPECIFIED = "UNSPECIFIED"
    IMAGE = "IMAGE"
    TEXT = "TEXT"
    TENSOR = "TENSOR"


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneStatus:
    """The status of a backbone on one replica. Other replicas may differ.

    Attributes:
        backbone: name of the backbone.
        ready: whether the replica has loaded the backbone; if not, the first call that needs it loads it.
        digest: SHA-256 of weights, architecture and preprocessing, hexadecimal; empty unless ``ready``.
        runtime: runtime and precision, such as ``openvino bfloat16``; empty unless ``ready``.
        problem: error of the last attempt to prepare or load the backbone; empty if it succeeded.
    """

    backbone: str
    ready: bool
    digest: str
    runtime: str
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Backbone:
    """A frozen pretrained network that heads are trained on.

    Attributes:
        backbone: the name.
        modality: kind of its inputs.
        views: size of each view of its features, by name; empty while a declared backbone is not prepared.
        input_size: height and width of images in pixels; maximum tokens of a text, which is truncated; or
            size of a tensor.
        parameter_count: number of parameters.
        source: origin of the weights.
        license: SPDX identifier of the license of the weights.
        default: whether it is the default of its modality.
        description: description in one sentence.
        status: status of the backbone on the replica that responded.
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
