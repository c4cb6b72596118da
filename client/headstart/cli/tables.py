"""How predictions, jobs and what was found in examples look to people."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from headstart.cli.layout import add_row, duration, facts_grid, moment, new_table, short_moment
from headstart.results import ExampleFault, JobState, JobStatus, Prediction, Validation

__all__ = [
    "class_list",
    "fault_lines",
    "job_facts",
    "job_table",
    "prediction_table",
    "step_list",
    "validation_view",
]

_MAX_FAULTS = 10
_MAX_CLASSES = 20
_PARTS_OF_FEATURES = ("decode", "backbone")


def prediction_table(names: Sequence[str], predictions: Sequence[Prediction]) -> RenderableType:
    """A row for each input: its likeliest class, how likely it is, and the others."""
    table = new_table("input", "class", "probability", "others")
    for name, prediction in zip(names, predictions, strict=True):
        others = ", ".join(f"{each.name} {each.probability:.1%}" for each in prediction.classes[1:])
        add_row(table, name, prediction.label, f"{prediction.probability:.1%}", others)
    first = predictions[0]
    return Group(table, Text(f"{first.model}, version {first.version}"))


def job_table(jobs: Sequence[JobStatus]) -> RenderableType:
    """A row for each job."""
    if not jobs:
        return Text("No jobs.")
    table = new_table("job", "model", "state", "version", "created", whole=("job", "created"))
    for job in jobs:
        state = job.state.lower()
        if job.state is JobState.RUNNING and job.progress:
            state += f", {job.progress.step.lower()} {job.progress.fraction:.0%}"
        add_row(table, job.id, job.spec.model, state, job.version or "", short_moment(job.create_time))
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
        ("created", moment(job.create_time)),
        ("took", duration(job.finish_time - job.start_time) if job.finish_time and job.start_time else None),
        ("steps", step_list(job) or None),
    ]
    return Group(facts_grid(facts), *fault_lines(job.dropped, job.dropped_count))


def validation_view(validation: Validation) -> RenderableType:
    """What was found in examples."""
    verdict = "These examples can be used." if validation.valid else f"Not usable: {validation.message}"
    classes = [f"{name} {count}" for name, count in validation.class_counts.items()]
    facts = [
        ("examples", validation.example_count),
        ("classes", class_list(classes)),
        ("unusable", validation.fault_count or None),
    ]
    warnings = [Text(f"warning: {warning}") for warning in validation.warnings]
    faults = fault_lines(validation.faults, validation.fault_count)
    return Group(Text(verdict), facts_grid(facts), *warnings, *faults)


def class_list(names: Sequence[str]) -> str:
    """How many classes there are, and the first of them."""
    more = ", …" if len(names) > _MAX_CLASSES else ""
    return f"{len(names)}: {', '.join(names[:_MAX_CLASSES])}{more}"


def step_list(job: JobStatus) -> str:
    """How long each finished step took; what decoding and the backbone took is a part of the features."""
    times = {name: f"{name} {duration(length)}" for name, length in job.step_times.items()}
    parts = [times.pop(name) for name in _PARTS_OF_FEATURES if "features" in times and name in times]
    if parts:
        times["features"] += f" ({', '.join(parts)})"
    return ", ".join(times.values())


def fault_lines(faults: Sequence[ExampleFault], count: int) -> list[Text]:
    """A line for each of the first examples that cannot be used, and one for the rest."""
    lines = [
        Text(f"  example {fault.index}{f' ({fault.id})' if fault.id else ''}: {fault.message}")
        for fault in faults[:_MAX_FAULTS]
    ]
    if count > len(lines):
        lines.append(Text(f"  and {count - len(lines)} more"))
    return lines
