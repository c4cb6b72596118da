"""The command `headstart job`."""

from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from headstart.calls.job_watcher import finished_version
from headstart.cli.completion import complete_jobs, complete_models
from headstart.cli.confirmation import confirm
from headstart.cli.help import noun
from headstart.cli.output.formats import LIST
from headstart.cli.output.layout import local_time
from headstart.cli.output.listings import job_listing
from headstart.cli.output.progress import describe
from headstart.cli.output.tables import job_facts, job_table
from headstart.cli.session import Session, session_of
from headstart.results import JobEvent, JobState

jobs = noun("job", "List, watch, cancel and delete jobs.")

JobArgument = Annotated[
    str, typer.Argument(help="The job's ID.", show_default=False, autocompletion=complete_jobs)
]


@jobs.command("list", formats=LIST)
def list_jobs(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Only jobs of this model.",
            show_default=False,
            autocompletion=complete_models,
        ),
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only jobs in this state, such as running. Repeatable."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The maximum number of jobs.")] = 20,
) -> None:
    """List jobs, the newest first.

    Example: `headstart job list pets --state running`
    """
    session = session_of(context)
    states = [_state(each) for each in state or ()]
    with session.client() as client:
        listed = islice(client.jobs(model=model, states=states), limit)
        statuses = [job.last_status for job in listed if job.last_status is not None]
    session.show(session.response("ListJobs", limit), job_table(statuses), job_listing(statuses))


@jobs.command("show")
def show_job(context: typer.Context, job: JobArgument) -> None:
    """Show a job's state, progress and result.

    Example: `headstart job show JOB`
    """
    session = session_of(context)
    with session.client() as client:
        status = client.job(job).status()
    session.show(session.response("Status"), job_facts(status))


@jobs.command("watch")
def watch_jobs(
    context: typer.Context,
    job: Annotated[
        str | None,
        typer.Argument(
            metavar="[JOB]",
            help="The job's ID. Default: all jobs.",
            show_default=False,
            autocompletion=complete_jobs,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Without JOB: only jobs of this model.")
    ] = None,
) -> None:
    """Print the events of a job until it has ended, or those of all jobs until Ctrl-C.

    With --json, each line is a document.

    Example: `headstart job watch JOB`
    """
    session = session_of(context)
    with session.client() as client:
        if job is None:
            for event in client.watch_jobs(model):
                _print_event(session, "WatchJobs", event, name=f"{event.job_id}  ")
            return
        for event in client.job(job).watch():
            _print_event(session, "Watch", event)
        ended = client.job(job).status()
    version = finished_version(ended)
    session.note(f"{ended.spec.model}, version {version} is ready.")


def _print_event(session: Session, method: str, event: JobEvent, name: str = "") -> None:
    if session.as_json:
        session.print_json(session.response(method))
        return
    line = f"{local_time(event.event_time):%H:%M:%S}  {name}{describe(event)}"
    session.out.print(line, soft_wrap=True)


@jobs.command("cancel")
def cancel_job(context: typer.Context, job: JobArgument) -> None:
    """Cancel a job. A queued job ends immediately, a running job at its next batch.

    Example: `headstart job cancel JOB`
    """
    session = session_of(context)
    with session.client() as client:
        status = client.job(job).cancel()
    running = status.state is JobState.RUNNING
    session.show(
        session.response("Cancel"),
        Text("Cancel accepted; the job ends at its next batch.") if running else job_facts(status),
    )


@jobs.command("delete")
def delete_job(
    context: typer.Context,
    job: JobArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the question.")] = False,
) -> None:
    """Delete a job that has ended, with its events. Its version stays.

    Example: `headstart job delete JOB`
    """
    session = session_of(context)
    with session.client() as client:
        if not yes:
            status = client.job(job).status()
            version_note = f"; version {status.version} stays" if status.version else ""
            confirm(
                f"delete job {job} of model {status.spec.model} ({status.state.lower()}{version_note})",
                skip=False,
            )
        client.delete_job(job)
    session.show(session.response("DeleteJob"), Text(f"Deleted job {job}."))


def _state(name: str) -> JobState:
    states = [each.lower() for each in JobState if each is not JobState.UNSPECIFIED]
    if name.lower() not in states:
        raise typer.BadParameter(
            f"must be one of {', '.join(states)}. Received: {name}", param_hint="--state"
        )
    return JobState(name.upper())
