"""The command `headstart job`."""

from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from headstart.cli.formats import LIST
from headstart.cli.help import noun
from headstart.cli.listings import job_listing
from headstart.cli.progress import describe
from headstart.cli.session import session_of
from headstart.cli.tables import job_facts, job_table
from headstart.following import finished_version
from headstart.results import JobState

__all__ = ["jobs"]

jobs = noun("job", "List, watch and cancel jobs.")

JobArgument = Annotated[str, typer.Argument(help="The job's ID.", show_default=False)]


@jobs.command("list", formats=LIST)
def list_jobs(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="Only jobs of this model.", show_default=False),
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
        found = [job.last_status for job in listed if job.last_status is not None]
    document = session.response("ListJobs")
    document["jobs"] = document.get("jobs", [])[:limit]
    session.show(document, job_table(found), job_listing(found))


@jobs.command("show")
def show_job(context: typer.Context, job: JobArgument) -> None:
    """Show a job's state, progress and result.

    Example: `headstart job show JOB`
    """
    session = session_of(context)
    with session.client() as client:
        found = client.job(job).status()
    session.show(session.response("Status"), job_facts(found))


@jobs.command("watch")
def watch_job(context: typer.Context, job: JobArgument) -> None:
    """Print a job's events until it has ended; with --json, one document per line.

    Example: `headstart job watch JOB`
    """
    session = session_of(context)
    with session.client() as client:
        for event in client.job(job).watch():
            if session.as_json:
                session.print_json(session.response("Watch"))
            else:
                session.out.print(f"{event.time.astimezone():%H:%M:%S}  {describe(event)}", soft_wrap=True)
        ended = client.job(job).status()
    version = finished_version(ended)
    session.note(f"{ended.spec.model}, version {version} is ready.")


@jobs.command("cancel")
def cancel_job(context: typer.Context, job: JobArgument) -> None:
    """Cancel a job. A queued job ends immediately, a running job at its next batch.

    Example: `headstart job cancel JOB`
    """
    session = session_of(context)
    with session.client() as client:
        found = client.job(job).cancel()
    running = found.state is JobState.RUNNING
    session.show(
        session.response("Cancel"),
        Text("Cancel accepted; the job ends at its next batch.") if running else job_facts(found),
    )


def _state(name: str) -> JobState:
    known = [each.lower() for each in JobState if each is not JobState.UNSPECIFIED]
    if name.lower() not in known:
        raise typer.BadParameter(f"must be one of {', '.join(known)}. Received: {name}", param_hint="--state")
    return JobState(name.upper())
