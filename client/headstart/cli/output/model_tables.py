"""Display of models, versions and backbones."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from rich.console import Group, RenderableType
from rich.text import Text

from headstart.cli.output.comparison_tables import choice_line, choice_view, promotion_line
from headstart.cli.output.evaluation_tables import accuracy_interval, measured
from headstart.cli.output.layout import (
    add_row,
    duration,
    facts_grid,
    figure,
    moment,
    new_table,
    percent,
    plural,
    short_moment,
)
from headstart.cli.output.tables import class_list, fault_lines, step_list
from headstart.inputs.task import Task
from headstart.results import (
    Alias,
    AliasEvent,
    Backbone,
    ErasedExample,
    JobStatus,
    Metrics,
    MetricsSource,
    Modality,
    Model,
    RebuiltVersion,
    Traffic,
    Usage,
    Version,
)

_SHORT_SOURCES = {MetricsSource.OUT_OF_FOLD: "by folds", MetricsSource.HELD_OUT: "held out"}
_QUALITY = {Task.REGRESSION: "error", Task.MULTI_LABEL: "all right"}
_MIB = 1 << 20
_ACCURACY = "accuracy\n(95% interval)"


def model_table(models: Sequence[Model], usage: Usage | None = None) -> RenderableType:
    """Return a table of models, with the storage limit of all of them."""
    if not models:
        return Text("No models yet. Make one: headstart fine-tune NAME FOLDER")
    table = new_table("model", "newest", "versions", "aliases", "created", whole=("created",))
    for model in models:
        newest = model.newest_version or "none"
        add_row(
            table, model.model, newest, model.version_count, _aliases(model), short_moment(model.create_time)
        )
    if usage is None or (usage.version_limit is None and usage.stored_bytes_limit is None):
        return table
    return Group(table, Text(_stored(usage)))


def _stored(usage: Usage) -> str:
    versions = str(usage.version_count)
    if usage.version_limit is not None:
        versions += f" of {usage.version_limit}"
    stored = f"{usage.stored_bytes / _MIB:.1f} MiB"
    if usage.stored_bytes_limit is not None:
        stored += f" of {usage.stored_bytes_limit / _MIB:.1f} MiB"
    return f"Stored in all: {versions} versions, {stored}"


def model_view(model: Model) -> RenderableType:
    """Return a model with a table of its versions."""
    backbones = {version.lineage.backbone for version in model.versions}
    common = next(iter(backbones)) if len(backbones) == 1 else None
    facts = [
        ("newest", model.newest_version or "none"),
        ("versions", model.version_count),
        ("aliases", _aliases(model) or None),
        ("backbone", common),
        ("created", moment(model.create_time)),
    ]
    return Group(
        Text(model.model),
        facts_grid(facts),
        version_table(model.versions, with_backbone=common is None),
        *_recommendations(model.versions),
    )


def erased_example_view(example_id: str, deleted: ErasedExample) -> RenderableType:
    """Return the result of erasing an example, and the remaining steps."""
    count = deleted.deleted_contents
    lines = [f"Deleted {count} content{'' if count == 1 else 's'} of example {example_id}, and its features."]
    if (certificate := deleted.certificate) is not None:
        lines += [_rebuilt(each) for each in certificate.versions]
        lines.append(f"Certificate: {certificate.request_id}. Print it with --json.")
    remaining = deleted.versions if certificate is None else ()
    for heading, names in (
        ("Versions trained on it; delete them to remove what they learned", _named(remaining)),
        ("Unknown, because their lists are damaged", _named(deleted.unread_versions)),
        ("Unfinished jobs that had it", ", ".join(deleted.job_ids)),
        ("Datasets that had it", ", ".join(deleted.datasets)),
    ):
        if names:
            lines.append(f"{heading}: {names}.")
    return Text("\n".join(lines))


def _rebuilt(each: RebuiltVersion) -> str:
    if each.new_version is None:
        return f"{each.model}@{each.version} was not replaced. {each.skipped_reason}"
    aliases = f", aliases {', '.join(each.aliases)}" if each.aliases else ""
    return f"{each.model}@{each.version} was replaced by {each.model}@{each.new_version}{aliases}."


def _named(versions: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{model}@{number}" for model, number in versions)


def backbone_list(backbones: Iterable[Backbone]) -> RenderableType:
    """Return a paragraph for each backbone."""
    parts: list[RenderableType] = []
    for each in backbones:
        marks = [name for name, marked in (("default", each.default), ("ready", each.status.ready)) if marked]
        facts = [
            ("takes", _input_description(each)),
            ("views", ", ".join(f"{name} {size}" for name, size in each.views.items()) or None),
            ("parameters", f"{each.parameter_count / 1e6:.1f} M" if each.parameter_count else None),
            ("source", each.source),
            ("license", each.license or None),
            ("runtime", each.status.runtime or None),
            ("description", each.description or None),
            ("precision", each.precision_reason or None),
            ("problem", each.status.problem or None),
        ]
        parts += [
            Text(f"{each.backbone} ({', '.join(marks)})" if marks else each.backbone),
            facts_grid(facts),
        ]
    return Group(*parts)


def _input_description(backbone: Backbone) -> str:
    size = " x ".join(map(str, backbone.input_size))
    if backbone.modality is Modality.TEXT and size:
        size = f"up to {size} tokens"
    return f"{backbone.modality.lower()} {size}".strip()


def version_summary(version: Version, job: JobStatus, upload: timedelta | None) -> RenderableType:
    """Return the metrics and step durations of a new version."""
    steps = step_list(job)
    facts = [
        (_QUALITY.get(version.task, "accuracy"), measured(version.metrics)),
        ("note", _uncounted(version)),
        ("alias", promotion_line(version.promotion) if version.promotion else None),
        ("classes", class_list(version.class_names) if version.class_names else None),
        ("parent", _parent(version)),
        ("took", ", ".join(filter(None, [f"upload {duration(upload)}" if upload else "", steps])) or None),
        ("excluded", job.excluded_count or None),
    ]
    return Group(
        Text(f"{version.model}, version {version.version} is ready."),
        facts_grid(facts),
        *([choice_view(version.backbone_selection)] if version.backbone_selection else []),
        *fault_lines(job.excluded_examples, job.excluded_count),
    )


def alias_table(model: str, aliases: Sequence[Alias]) -> RenderableType:
    """Return a table of the aliases of a model."""
    if not aliases:
        return Text(f"Model {model} has no aliases. Set one: headstart alias set {model} stable VERSION")
    table = new_table("alias", "version", "traffic", "moved", "etag", whole=("alias", "moved", "etag"))
    for alias in aliases:
        moved = short_moment(alias.update_time)
        add_row(table, alias.alias, alias.version, traffic_text(alias), moved, alias.etag)
    return table


def alias_event_table(model: str, events: Sequence[AliasEvent]) -> RenderableType:
    """Return a table of moves of aliases."""
    if not events:
        return Text(f"No moves of aliases of model {model} are recorded.")
    table = new_table("time", "alias", "from", "to", "traffic", "cause", "by", whole=("time",))
    for each in events:
        traffic = ", ".join(f"{part * 100:.3g}% → {number}" for number, part in each.traffic.items())
        moved = (each.previous_version or "", each.version or "deleted")
        by = each.principal or each.job_id
        add_row(table, short_moment(each.event_time), each.alias, *moved, traffic, each.cause.lower(), by)
    return table


def traffic_table(traffic: Traffic) -> RenderableType:
    """Return a table of the versions with traffic."""
    since = f"since {moment(traffic.start_time)}"
    if not traffic.versions:
        return Text(f"No predictions {since}.")
    numbers = ("version", "calls", "errors", "unknown", "p50", "p99", "drift")
    table = new_table(*numbers, numbers=numbers)
    for each in traffic.versions:
        unknown = percent(each.unknown_count / each.input_count) if each.input_count else ""
        errors = percent(each.error_count / each.request_count) if each.request_count else ""
        latencies = [
            duration(each) if each else "" for each in (each.latency_p50_duration, each.latency_p99_duration)
        ]
        add_row(
            table, each.version, each.request_count, errors, unknown, *latencies, figure(each.feature_drift)
        )
    return Group(Text(f"Predictions {since}"), table)


def version_view(version: Version) -> RenderableType:
    """Return a version with its metrics and lineage."""
    lineage = version.lineage
    tags = ", ".join(f"{key}={value}" for key, value in sorted(version.tags.items()))
    facts = [
        ("title", version.display_name or None),
        ("description", version.description or None),
        (_QUALITY.get(version.task, "accuracy"), measured(version.metrics)),
        ("note", _uncounted(version)),
        ("aliases", ", ".join(version.aliases) or None),
        ("classes", class_list(version.class_names) if version.class_names else None),
        ("examples", f"{lineage.example_count}{'' if version.has_examples else ', not stored'}"),
        ("parent", _parent(version)),
        ("backbone", lineage.backbone),
        ("recipe", type(lineage.recipe).__name__.lower()),
        ("tags", tags or None),
        ("size", f"{version.size_bytes / 1024:,.1f} KiB"),
        ("created", moment(version.create_time)),
        ("expires", moment(version.expire_time) if version.expire_time else None),
    ]
    return Group(Text(f"{version.model}, version {version.version}"), facts_grid(facts))


def version_table(versions: Iterable[Version], *, with_backbone: bool = True) -> RenderableType:
    """Return a table of versions."""
    backbone = ["backbone"] if with_backbone else []
    columns = ["version", _ACCURACY, "measured", "trained\non", "classes", *backbone, "created", "aliases"]
    table = new_table(*columns, whole=[*columns[:5], "created"])
    for version in versions:
        add_row(
            table,
            version.version,
            _short_quality(version.metrics),
            _SHORT_SOURCES.get(version.metrics.source, "no"),
            version.lineage.example_count,
            len(version.class_names),
            *([version.lineage.backbone] if with_backbone else []),
            short_moment(version.create_time),
            ", ".join(version.aliases),
        )
    return table


def _recommendations(versions: Iterable[Version]) -> Iterable[Text]:
    for version in versions:
        tags = ", ".join(f"{key}={value}" for key, value in sorted(version.tags.items()))
        expiration = f"kept until {moment(version.expire_time)}" if version.expire_time else ""
        moved = promotion_line(version.promotion) if version.promotion else ""
        parts = (
            version.display_name,
            tags,
            expiration,
            moved,
            choice_line(version.backbone_selection) if version.backbone_selection else "",
            _parent(version),
            version.lineage.note,
            _uncounted(version),
        )
        recommendations = [recommendation.rstrip(".") for recommendation in parts if recommendation]
        if recommendations:
            yield Text(f"version {version.version}: {'; '.join(recommendations)}")


def traffic_text(alias: Alias) -> str:
    """Return the traffic split of an alias, such as ``5% → 8``."""
    return ", ".join(f"{share * 100:.3g}% → {number}" for number, share in alias.traffic.items())


def _aliases(model: Model) -> str:
    return ", ".join(
        f"{alias.alias} → {alias.version}" + (f" ({traffic_text(alias)})" if alias.traffic else "")
        for alias in model.aliases
    )


def _uncounted(version: Version) -> str | None:
    counted, trained = version.metrics.example_count, version.lineage.example_count
    if version.metrics.source is not MetricsSource.OUT_OF_FOLD or counted >= trained:
        return None
    return f"{counted} of {trained} examples counted: a class with a single example cannot be measured"


def _parent(version: Version) -> str | None:
    lineage = version.lineage
    if lineage.parent_version is None:
        return None
    removed = lineage.removed_example_count
    minus = f", {removed} left out or replaced" if removed else ""
    return (
        f"on version {lineage.parent_version}, {plural(lineage.added_example_count, 'example')} added{minus}"
    )


def _short_quality(metrics: Metrics) -> str:
    if metrics.mean_absolute_error is not None:
        return f"± {figure(metrics.mean_absolute_error)} (mean)"
    if metrics.accuracy is None:
        return ""
    interval = accuracy_interval(metrics)
    return f"{metrics.accuracy:.1%}" + (f" ({interval})" if interval else "")
