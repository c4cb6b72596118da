"""The commands that train a new version of a model, and that validate its examples."""

import time
from datetime import timedelta

import typer

from headstart.arguments import FineTuneSettings
from headstart.cli.exits import ExitCode
from headstart.cli.options import ExampleColumns, ModelArgument, SourceArgument
from headstart.cli.output.finding_tables import findings_lines, validation_view
from headstart.cli.output.formats import Format, Listing
from headstart.cli.output.model_tables import version_summary
from headstart.cli.output.progress import progress_view
from headstart.cli.output.tables import job_facts
from headstart.cli.session import Session, session_of
from headstart.cli.training import spec_options as options
from headstart.cli.training.recipe_settings import duration_of
from headstart.cli.training.submission import Submission
from headstart.client import Client
from headstart.errors import HeadstartError
from headstart.job import Job
from headstart.results import Modality, Version
from headstart.spec import SpecSettings


def check(
    context: typer.Context,
    *,
    model: ModelArgument,
    source: SourceArgument = None,
    backbone: options.BackboneOption = None,
    parent: options.ParentOption = None,
    remove: options.RemoveOption = None,
    columns: ExampleColumns,
    training: options.TrainingOptions,
) -> None:
    """Check examples without training: find unusable ones, duplicates and wrong labels.

    Takes the arguments of fine-tune. Exits with 1 if a fine-tune would fail.

    Example: `headstart check pets photos/`
    """
    session = session_of(context)
    spec = SpecSettings(
        backbone=backbone,
        parent=options.parent_of(parent, remove),
        remove=remove,
        **training.spec(),
    )
    if source is None and parent is None:
        raise typer.BadParameter("is needed without --parent", param_hint="SOURCE")
    with session.client() as client, progress_view(session.err) as view:
        validation = client.validate(source, model=model, on_upload=view.upload, **spec, **columns.settings())
    session.show(session.response("FineTune").get("validation"), validation_view(validation))
    if not validation.valid:
        raise typer.Exit(ExitCode.FAILED)


_INPUTS = {
    Modality.IMAGE: "IMAGE.jpg",
    Modality.TEXT: "--text 'Some words.'",
    Modality.TENSOR: "ROWS.csv",
}


def fine_tune(
    context: typer.Context,
    *,
    model: ModelArgument,
    source: SourceArgument = None,
    backbone: options.BackboneOption = None,
    backbone_candidate: options.CandidateOption = None,
    backbone_time_budget: options.BackboneBudgetOption = None,
    alias: options.AliasOption = None,
    promote_if_not_worse: options.PromoteOption = False,
    require_promotion: options.RequirePromotionOption = False,
    gate: options.GateOptions,
    parent: options.ParentOption = None,
    remove: options.RemoveOption = None,
    columns: ExampleColumns,
    dataset: options.DatasetOption = None,
    training: options.TrainingOptions,
    tag: options.TagOption = None,
    display_name: options.DisplayNameOption = "",
    ttl: options.TtlOption = None,
    discard_examples: options.DiscardOption = False,
    queue: options.QueueOptions,
    request_id: options.RequestIdOption = None,
    wait: options.WaitOption = True,
) -> None:
    """Train a new version of a model on labeled examples.

    Ctrl-C leaves the job running on the server.

    Example: `headstart fine-tune pets photos/ --alias stable --promote-if-not-worse`

    Texts: `headstart fine-tune reviews reviews.csv --text-column review --label-column verdict`

    More examples: `headstart fine-tune pets more-photos/ --parent stable`
    """
    session = session_of(context)
    spec = FineTuneSettings(
        backbone=backbone,
        display_name=display_name,
        tags=options.tags_of(tag),
        alias=alias,
        ttl=duration_of(ttl, "--ttl"),
        promote_if=gate.gate(promote_if_not_worse or require_promotion, alias),
        parent=options.parent_of(parent, remove),
        remove=remove,
        discard_examples=discard_examples,
        dataset=dataset,
        backbone_candidates=backbone_candidate,
        backbone_time_budget=duration_of(backbone_time_budget, "--backbone-time-budget"),
        priority=queue.priority,
        webhook=queue.webhook,
        **training.spec(),
        **columns.settings(),
    )
    if source is None and parent is None and dataset is None:
        raise typer.BadParameter("is needed without --parent or --dataset", param_hint="SOURCE")
    with session.client() as client:
        version = run_fine_tune(session, client, source, model, spec, request_id=request_id, wait=wait)
    require_promoted(version, required=require_promotion)


def run_fine_tune(
    session: Session,
    client: Client,
    source: str | None,
    model: str,
    settings: FineTuneSettings,
    *,
    request_id: str | None,
    wait: bool,
) -> Version | None:
    """Run a fine-tune, show it and return its version; None without a wait."""
    submission = Submission(session, model, request_id)
    with submission.followed(), progress_view(session.err) as view:

        def report(count: int, total: int | None) -> None:
            submission.uploaded(count, total)
            view.upload(count, total)

        begin = time.monotonic()
        job = submission.job = client.fine_tune(
            source, model=model, request_id=submission.request_id, on_upload=report, **settings
        )
        upload = timedelta(seconds=time.monotonic() - begin)
        version = job.result(on_event=view.event) if wait else None
        if not wait:
            job.status()  # for `show_job`; a failure here names the job
    show_job(session, client, job, version, upload)
    return version


def show_job(
    session: Session, client: Client, job: Job, version: Version | None, upload: timedelta | None = None
) -> None:
    """Print an accepted job or, after a wait, its version, and the next commands."""
    status = job.last_status or job.status()
    if version is None:
        session.show(session.response("Status"), job_facts(status), Listing([status.job_id]))
        session.note(f"Follow it: {session.command(f'job watch {job.job_id}')}")
        return
    document = {**session.response("Status"), "version": session.response("GetVersion").get("version")}
    name = f"{version.model}@{version.version}"
    session.show(document, version_summary(version, status, upload), Listing([name]))
    _show_findings(session, client, version)
    inputs = _input_of(client, version)
    promotion = version.promotion
    if promotion is None or promotion.promoted:
        reference = f"{version.model}@{status.spec.alias}" if status.spec.alias else version.model
        session.note(f"Try it: {session.command(f'predict {reference} {inputs}')}")
        return
    # A command that names only the model must not reach the rejected version.
    served = f"{version.model}@{promotion.alias}" if promotion.baseline_version else version.model
    session.note(
        f"Version {version.version} is not served. Try the one that is: "
        f"{session.command(f'predict {served} {inputs}')}"
    )
    session.note(f"Or the new one: {session.command(f'predict {version.model}@{version.version} {inputs}')}")


def _show_findings(session: Session, client: Client, version: Version) -> None:
    if session.options.format is not Format.TABLE:
        return
    try:
        findings = client.evaluation(version.model, version.version).findings
    except HeadstartError:  # the version is there, and its findings can be read later
        return
    lines = findings_lines(findings) if findings is not None else []
    if not lines:
        return
    session.out.print("Found in the examples:")
    for line in lines:
        session.out.print(line)
    session.note(f"More: {session.command(f'version report {version.model}@{version.version}')}")


def _input_of(client: Client, version: Version) -> str:
    """Return an example input of a version as an argument of the command; an image if its kind is unknown."""
    backbone = version.lineage.backbone
    if backbone.startswith("features:"):  # of any size, so it is not listed
        return _INPUTS[Modality.TENSOR]
    try:
        modalities = {each.backbone: each.modality for each in client.backbones()}
    except HeadstartError:
        modalities = {}
    return _INPUTS.get(modalities.get(backbone, Modality.IMAGE), _INPUTS[Modality.IMAGE])


def require_promoted(version: Version | None, *, required: bool) -> None:
    """Exit with the exit code of the gate if it is required and kept the alias; None: the job runs."""
    if required and version is not None and version.promotion is not None and not version.promotion.promoted:
        raise typer.Exit(ExitCode.NOT_PROMOTED)
