"""The command that trains a version again on another backbone."""

from typing import Annotated, TypeAlias

import typer

from headstart.calls.job_calls import RebaseSettings
from headstart.cli.completion import complete_backbones
from headstart.cli.options import VersionArgument
from headstart.cli.output.progress import progress_view
from headstart.cli.session import session_of
from headstart.cli.training import spec_options as options
from headstart.cli.training.fine_tune import require_promoted, show_job
from headstart.cli.training.recipe_settings import RecipeChoice, duration_of
from headstart.cli.training.submission import Submission
from headstart.version_ref import parse_version

_AliasOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--alias",
        "-a",
        help="Move this alias if the new version is not worse. Without @VERSION, its version is used.",
    ),
]
_RecipeOption: TypeAlias = Annotated[
    RecipeChoice | None,
    typer.Option(
        metavar="RECIPE", help="auto, ridge, logistic, mlp or partial. Default: that of the old version."
    ),
]


def rebase(
    context: typer.Context,
    *,
    model: VersionArgument,
    backbone: Annotated[
        str,
        typer.Option(
            "--backbone",
            "-b",
            help="The new backbone, or auto to select one.",
            show_default=False,
            autocompletion=complete_backbones,
        ),
    ],
    alias: _AliasOption = None,
    backbone_candidate: options.CandidateOption = None,
    backbone_time_budget: options.BackboneBudgetOption = None,
    recipe: _RecipeOption = None,
    require_promotion: options.RequirePromotionOption = False,
    gate: options.GateOptions,
    queue: options.QueueOptions,
    request_id: options.RequestIdOption = None,
    wait: options.WaitOption = True,
) -> None:
    """Train a version again on another backbone, from the examples that the server stores.

    The old version stays. Ctrl-C leaves the job running on the server.

    Example: `headstart rebase pets --alias stable --backbone auto`
    """
    session = session_of(context)
    settings = RebaseSettings(
        backbone_candidates=backbone_candidate,
        backbone_time_budget=duration_of(backbone_time_budget, "--backbone-time-budget"),
        recipe=recipe.value if recipe else None,
        promote_if=gate.gate(False, alias),
        priority=queue.priority,
        webhook=queue.webhook,
    )
    submission = Submission(session, parse_version(model).model, request_id)
    with session.client() as client:
        with submission.followed(), progress_view(session.err) as view:
            submission.is_sent = True
            job = submission.job = client.rebase(
                model,
                backbone=backbone,
                alias=alias,
                request_id=submission.request_id,
                **settings,
            )
            published = job.result(on_event=view.event) if wait else None
            if not wait:
                job.status()  # for `show_job`; a failure here names the job
        show_job(session, client, job, published)
    require_promoted(published, required=require_promotion)
