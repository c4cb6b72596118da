"""Commands about jobs."""

from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from headstart.cli.progress import describe
from headstart.cli.session import session_of
from headstart.cli.tables import job_facts, job_table
from headstart.following import finished_version
from headstart.results import JobState

__all__ = ["cancel", "list_jobs", "status", "watch"]

JobArgument = Annotated[str, typer.Argument(help="The job's id.", show_default=False)]


def status(context: typer.Context, job: JobArgument) -> None:
    """Tells where a job stands.

    Example: `headstart status JOB`
    """
    session = session_of(context)
    with session.client() as client:
        found = client.job(job).status()
    session.show(found, job_facts(found))


def watch(context: typer.Context, job: JobArgument) -> None:
    """Follows a job until it has ended; with --json one line for each event.

    Example: `headstart watch JOB`
    """
    session = session_of(context)
    with session.client() as client:
        for event in client.job(job).watch():
            if session.as_json:
                session.print_json(event)
            else:
                session.out.print(f"{event.time.astimezone():%H:%M:%S}  {describe(event)}", soft_wrap=True)
        ended = client.job(job).status()
    version = finished_version(ended)
    session.note(f"{ended.spec.model}, version {version} is ready.")


def list_jobs(
    context: typer.Context,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only jobs of this model.")] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only jobs in this state, such as running; may be given more than once."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most jobs to list.")] = 20,
) -> None:
    """Lists jobs, the newest first.

    Example: `headstart jobs --model pets --state running`
    """
    session = session_of(context)
    states = [_state(each) for each in state or ()]
    with session.client() as client:
        found = list(islice(client.jobs(model=model, states=states), limit))
    session.show({"jobs": found}, job_table(found))


def cancel(context: typer.Context, job: JobArgument) -> None:
    """Cancels a job. A queued one ends at once, a running one at its next batch.

    Example: `headstart cancel JOB`
    """
    session = session_of(context)
    with session.client() as client:
        found = client.job(job).cancel()
    running = found.state is JobState.RUNNING
    session.show(
        found, Text("Cancel accepted; the job ends at its next batch.") if running else job_facts(found)
    )


def _state(name: str) -> JobState:
    known = [each.lower() for each in JobState if each is not JobState.UNSPECIFIED]
    if name.lower() not in known:
        raise typer.BadParameter(f"must be one of {', '.join(known)}. Received: {name}", param_hint="--state")
    return JobState(name.upper())
