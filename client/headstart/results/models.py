"""Models, versions, aliases and backbones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from headstart.display import figure, table
from headstart.results.policies import CapturePolicy, RetrainPolicy
from headstart.results.versions import Version


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
    """The cause of an alias move. UNSPECIFIED: a cause that this client does not know."""

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
        principal: the caller, or the submitter of the job, that moved it; empty without authentication.
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
        capture: selects inputs of Predict calls for review; None: none are captured.
        retrain: starts retraining from feedback; None: never.
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
        precision_reason: reason for using it in 8 bits or in floating point; empty unless its 8-bit form
            was prepared.
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
    precision_reason: str
    status: BackboneStatus
