"""The command that fits a version anew on another backbone."""

from typing import Annotated

import typer

from headstart.cli import spec_options as options
from headstart.cli.exits import ExitCode
from headstart.cli.fine_tune import say_what_goes_on, show_job
from headstart.cli.options import VersionArgument
from headstart.cli.progress import progress_view
from headstart.cli.session import session_of
from headstart.job import Job
from headstart.rebasing import RebaseSettings
from headstart.version_ref import parse_version

__all__ = ["rebase"]


def rebase(
    context: typer.Context,
    *,
    model: VersionArgument,
    backbone: Annotated[
        str,
        typer.Option("--backbone", "-b", help="The other backbone, or auto.", show_default=False),
    ],
    alias: Annotated[
        str | None,
        typer.Option(
            "--alias",
            "-a",
            help="Moved if the new version is not worse. Without @VERSION, also the version to fit again.",
        ),
    ] = None,
    candidate: options.CandidateOption = None,
    choose_within: options.ChooseWithinOption = None,
    recipe: Annotated[
        options.RecipeChoice | None, typer.Option(help="Default: as the old version was asked to be fitted.")
    ] = None,
    max_drop: options.MaxDropOption = None,
    max_class_drop: options.MaxClassDropOption = None,
    significance: options.SignificanceOption = None,
    priority: options.PriorityOption = 0,
    webhook: options.WebhookOption = "",
    request_id: options.RequestIdOption = None,
    wait: Annotated[bool, typer.Option(help="Wait until the job has ended.")] = True,
) -> None:
    """Fits a version of a model anew on another backbone, from the examples that the server keeps.

    The old version stays. Ctrl-C while it waits leaves the job running on the server.

    Example: `headstart rebase pets --alias stable --backbone auto`
    """
    session = session_of(context)
    target = parse_version(model)
    alias = alias or target.alias
    settings = RebaseSettings(
        backbone_candidates=candidate,
        backbone_time_budget=options.lifetime_of(choose_within, "--choose-within"),
        recipe=recipe.value if recipe else None,
        promote_if=options.gate_of(False, max_drop, max_class_drop, significance, alias),
        priority=priority,
        webhook=webhook,
    )
    job: Job | None = None
    with session.client() as client:
        try:
            with progress_view(session.err) as view:
                job = client.rebase(
                    target.model,
                    backbone=backbone,
                    version=target.version,
                    alias=alias,
                    request_id=request_id,
                    **settings,
                )
                published = job.result(on_event=view.event) if wait else None
        except KeyboardInterrupt:
            say_what_goes_on(session, job)
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        show_job(session, client, job, published)
