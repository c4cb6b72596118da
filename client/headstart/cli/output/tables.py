"""Display of jobs and unusable examples."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from headstart.cli.output.comparison_tables import promotion_line
from headstart.cli.output.layout import add_row, duration, facts_grid, moment, new_table, short_moment
from headstart.results import ExampleFault, JobState, JobStatus, WebhookDelivery

_MAX_FAULTS = 10
_MAX_CLASSES = 20
_PARTS_OF_FEATURES = ("decode", "backbone")


def job_table(jobs: Sequence[JobStatus]) -> RenderableType:
    """Return a table of jobs."""
    if not jobs:
        return Text("No jobs.")
    table = new_table("job", "model", "state", "version", "created", whole=("job", "created"))
    for job in jobs:
        state = job.state.lower()
        if job.state is JobState.RUNNING and job.progress:
            state += f", {job.progress.step.lower()} {job.progress.fraction:.0%}"
        add_row(table, job.job_id, job.spec.model, state, job.version or "", short_moment(job.create_time))
    return table


def job_facts(job: JobStatus) -> RenderableType:
    """Return the facts of a job."""
    facts = [
        ("job", job.job_id),
        ("model", job.spec.model),
        ("state", job.state.lower()),
        ("version", job.version),
        ("error", f"{job.error.message} ({job.error.reason or job.error.code.name})" if job.error else None),
        ("queued before it", job.queue_position or None),
        ("likely to start", moment(job.estimated_start_time) if job.estimated_start_time else None),
        ("likely to end", moment(job.estimated_end_time) if job.estimated_end_time else None),
        ("step", f"{job.progress.step.lower()}, {job.progress.fraction:.0%}" if job.progress else None),
        ("alias", promotion_line(job.promotion) if job.promotion else None),
        ("examples", _examples(job)),
        ("excluded", job.excluded_count or None),
        ("created", moment(job.create_time)),
        ("webhook", _delivery(job.webhook) if job.webhook else None),
        ("took", duration(job.end_time - job.start_time) if job.end_time and job.start_time else None),
        ("steps", step_list(job) or None),
        ("energy", job.energy),
    ]
    return Group(facts_grid(facts), *fault_lines(job.excluded_examples, job.excluded_count))


def _delivery(webhook: WebhookDelivery) -> str:
    """Return where a webhook goes, and whether it was delivered."""
    tries = (
        f" after {webhook.attempt_count} {'try' if webhook.attempt_count == 1 else 'tries'}"
        if webhook.attempt_count
        else ""
    )
    parts = [f"{webhook.uri} {webhook.state.lower().replace('_', ' ')}{tries}"]
    if webhook.error:
        parts.append(webhook.error.rstrip("."))
    if webhook.next_attempt_time is not None:
        parts.append(f"next try {moment(webhook.next_attempt_time)}")
    return "; ".join(parts)


def _examples(job: JobStatus) -> str:
    return f"{job.example_count}" + (f" of {job.class_count} classes" if job.class_count else "")


def class_list(names: Sequence[str]) -> str:
    """Return the number of classes and the first of them."""
    more = ", …" if len(names) > _MAX_CLASSES else ""
    return f"{len(names)}: {', '.join(names[:_MAX_CLASSES])}{more}"


def step_list(job: JobStatus) -> str:
    """Return the duration of each finished step, and the decoding and backbone times of the features.

    These times are sums over concurrent threads, so they may exceed the step's duration.
    """
    times = {name: f"{name} {duration(length)}" for name, length in job.step_durations.items()}
    parts = [times.pop(name) for name in _PARTS_OF_FEATURES if "features" in times and name in times]
    if parts and any(job.step_durations[name] for name in _PARTS_OF_FEATURES if name in job.step_durations):
        times["features"] += f" (in all threads {', '.join(parts)})"
    return ", ".join(times.values())


def fault_lines(faults: Sequence[ExampleFault], count: int) -> list[RenderableType]:
    """Return the first unusable examples with their errors, and the number of the others."""
    lines: list[RenderableType] = []
    listed = faults[:_MAX_FAULTS]
    for fault in listed:
        lines.append(Text(f"  example {fault.index}{f' ({fault.example_id})' if fault.example_id else ''}:"))
        lines.append(Padding(Text(fault.message), (0, 0, 0, 4)))
    if count > len(listed):
        lines.append(Text(f"  and {count - len(listed)} more"))
    return lines
