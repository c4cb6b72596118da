"""How results look to people."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headstart.results import (
    Backbone,
    ExampleFault,
    JobStatus,
    Metrics,
    MetricsSource,
    Model,
    Prediction,
    Validation,
    Version,
)

__all__ = [
    "backbone_table",
    "fault_lines",
    "job_facts",
    "job_table",
    "model_table",
    "model_view",
    "prediction_table",
    "validation_view",
    "version_summary",
]

_SOURCES = {MetricsSource.OUT_OF_FOLD: "out of fold", MetricsSource.HELD_OUT: "on held-out examples"}
_MAX_FAULTS = 10
_MAX_CLASSES = 20


def prediction_table(names: Sequence[str], predictions: Sequence[Prediction]) -> RenderableType:
    """A row for each input: its likeliest class, how likely it is, and the others."""
    table = _table("input", "class", "probability", "others")
    for name, prediction in zip(names, predictions, strict=True):
        others = ", ".join(f"{each.name} {each.probability:.1%}" for each in prediction.classes[1:])
        _row(table, name, prediction.label, f"{prediction.probability:.1%}", others)
    first = predictions[0]
    return Group(table, Text(f"{first.model}, version {first.version}"))


def job_table(jobs: Iterable[JobStatus]) -> RenderableType:
    """A row for each job."""
    table = _table("job", "model", "state", "progress", "examples", "created", "version")
    for job in jobs:
        progress = f"{job.progress.step.lower()} {job.progress.fraction:.0%}" if job.progress else ""
        version = str(job.version or "")
        _row(
            table,
            job.id,
            job.spec.model,
            job.state.lower(),
            progress,
            job.example_count,
            _moment(job.create_time),
            version,
        )
    return table


def job_facts(job: JobStatus) -> RenderableType:
    """All that is worth knowing about a job."""
    facts = [
        ("job", job.id),
        ("model", job.spec.model),
        ("state", job.state.lower()),
        ("version", job.version),
        ("error", f"{job.error.message} ({job.error.reason or job.error.code.name})" if job.error else None),
        ("queued before it", job.queue_position or None),
        ("step", f"{job.progress.step.lower()}, {job.progress.fraction:.0%}" if job.progress else None),
        ("examples", f"{job.example_count} of {job.class_count} classes"),
        ("dropped", job.dropped_count or None),
        ("created", _moment(job.create_time)),
        ("took", _duration(job.finish_time - job.start_time) if job.finish_time and job.start_time else None),
        ("steps", _steps(job) or None),
    ]
    return Group(_facts(facts), *fault_lines(job.dropped, job.dropped_count))


def model_table(models: Iterable[Model]) -> RenderableType:
    """A row for each model."""
    table = _table("model", "newest", "versions", "aliases", "created")
    for model in models:
        aliases = ", ".join(f"{alias.name} → {alias.version}" for alias in model.aliases)
        newest = model.newest_version or "none"
        _row(table, model.name, newest, model.version_count, aliases, _moment(model.create_time))
    return table


def model_view(model: Model) -> RenderableType:
    """A model with a row for each version."""
    table = _table("version", "accuracy", "measured", "examples", "classes", "backbone", "created", "aliases")
    for version in model.versions:
        _row(
            table,
            version.number,
            _accuracy(version.metrics),
            _SOURCES.get(version.metrics.source, "not measured"),
            version.lineage.example_count,
            len(version.class_names),
            version.lineage.backbone,
            _moment(version.create_time),
            ", ".join(version.aliases),
        )
    return Group(model_table([model]), table)


def backbone_table(backbones: Iterable[Backbone]) -> RenderableType:
    """A row for each backbone."""
    table = _table("backbone", "takes", "views", "parameters", "license", "ready", "default", "description")
    for each in backbones:
        views = ", ".join(f"{name} {size}" for name, size in each.views.items())
        size = " x ".join(map(str, each.input_size))
        takes = f"{each.modality.lower()} {size}".strip()
        millions = f"{each.parameter_count / 1e6:.1f} M"
        marks = ["yes" if mark else "" for mark in (each.ready, each.default)]
        _row(table, each.name, takes, views, millions, each.license, *marks, each.description)
    return table


def validation_view(validation: Validation) -> RenderableType:
    """What was found in examples."""
    verdict = "These examples can be used." if validation.valid else f"Not usable: {validation.message}"
    shown = list(validation.class_counts.items())[:_MAX_CLASSES]
    classes = ", ".join(f"{name} {count}" for name, count in shown)
    more = ", …" if len(validation.class_counts) > _MAX_CLASSES else ""
    facts = [
        ("examples", validation.example_count),
        ("classes", f"{len(validation.class_counts)}: {classes}{more}"),
        ("unusable", validation.fault_count or None),
    ]
    warnings = [Text(f"warning: {warning}") for warning in validation.warnings]
    faults = fault_lines(validation.faults, validation.fault_count)
    return Group(Text(verdict), _facts(facts), *warnings, *faults)


def version_summary(version: Version, job: JobStatus, upload: timedelta) -> RenderableType:
    """A version that was just published: how good it is and what took how long."""
    names = ", ".join(version.class_names[:_MAX_CLASSES])
    more = ", …" if len(version.class_names) > _MAX_CLASSES else ""
    source = _SOURCES.get(version.metrics.source, "")
    measured = f"{_accuracy(version.metrics)}, measured {source} on {version.metrics.example_count} examples"
    steps = _steps(job)
    facts = [
        ("accuracy", measured if source else "not measured: too few examples"),
        ("classes", f"{len(version.class_names)}: {names}{more}"),
        ("seconds", f"upload {_duration(upload)}" + (f", {steps}" if steps else "")),
        ("dropped", job.dropped_count or None),
    ]
    return Group(
        Text(f"{version.model}, version {version.number} is ready."),
        _facts(facts),
        *fault_lines(job.dropped, job.dropped_count),
    )


def fault_lines(faults: Sequence[ExampleFault], count: int) -> list[Text]:
    """A line for each of the first examples that cannot be used, and one for the rest."""
    lines = [
        Text(f"  example {fault.index}{f' ({fault.id})' if fault.id else ''}: {fault.message}")
        for fault in faults[:_MAX_FAULTS]
    ]
    if count > len(lines):
        lines.append(Text(f"  and {count - len(lines)} more"))
    return lines


def _accuracy(metrics: Metrics) -> str:
    if metrics.accuracy is None:
        return ""
    if metrics.accuracy_low is None or metrics.accuracy_high is None:
        return f"{metrics.accuracy:.1%}"
    return f"{metrics.accuracy:.1%} (95 % interval {metrics.accuracy_low:.1%} to {metrics.accuracy_high:.1%})"


def _steps(job: JobStatus) -> str:
    return ", ".join(f"{name} {_duration(duration)}" for name, duration in job.step_times.items())


def _duration(duration: timedelta) -> str:
    return f"{duration.total_seconds():.3g} s"


def _moment(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _row(table: Table, *cells: object) -> None:
    table.add_row(*(Text(str(cell)) for cell in cells))


def _facts(facts: Iterable[tuple[str, object]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, value in facts:
        if value is not None:
            grid.add_row(Text(f"  {name}", style="dim"), Text(str(value)))
    return grid
