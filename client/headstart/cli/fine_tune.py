"""The command that makes a new version of a model."""

import time
from datetime import timedelta
from typing import Annotated

import typer

from headstart.arguments import FineTuneSettings
from headstart.cli import spec_options as options
from headstart.cli.exits import ExitCode
from headstart.cli.finding_tables import validation_view
from headstart.cli.model_tables import version_summary
from headstart.cli.options import (
    SOURCE_HELP,
    FeatureColumns,
    IdColumn,
    ImageColumn,
    LabelColumn,
    ModelArgument,
    TextColumn,
    ValueColumn,
    example_settings,
)
from headstart.cli.progress import progress_view
from headstart.cli.session import Session, session_of
from headstart.cli.tables import job_facts
from headstart.client import Client
from headstart.errors import HeadstartError
from headstart.job import Job
from headstart.results import Modality, Version
from headstart.task import parse_task

__all__ = ["fine_tune", "say_what_goes_on", "show_job"]

_INPUTS = {
    Modality.IMAGE: "PICTURE.jpg",
    Modality.TEXT: "--text 'Some words.'",
    Modality.TENSOR: "FEATURES.npz",
}


def fine_tune(
    context: typer.Context,
    *,
    model: ModelArgument,
    source: Annotated[
        str | None,
        typer.Argument(
            help=f"{SOURCE_HELP} Or the URI of such a list, s3://, gs://, https:// or file://, that the "
            "server reads itself if it allows it. May be left out with --parent.",
            show_default=False,
        ),
    ] = None,
    backbone: options.BackboneOption = None,
    candidate: options.CandidateOption = None,
    choose_within: options.ChooseWithinOption = None,
    held_out_fraction: options.HeldOutOption = 0.0,
    seed: options.SeedOption = 0,
    display_name: options.DisplayNameOption = "",
    label: options.LabelOption = None,
    alias: options.AliasOption = None,
    ttl: options.LifetimeOption = None,
    max_excluded_fraction: options.MaxDroppedOption = 0.0,
    task: options.TaskOption = None,
    promote_if_not_worse: options.PromoteOption = False,
    max_drop: options.MaxDropOption = None,
    max_class_drop: options.MaxClassDropOption = None,
    significance: options.SignificanceOption = None,
    parent: options.ParentOption = None,
    remove: options.RemoveOption = None,
    discard_examples: options.DiscardOption = False,
    priority: options.PriorityOption = 0,
    webhook: options.WebhookOption = "",
    request_id: options.RequestIdOption = None,
    label_column: LabelColumn = None,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    feature_columns: FeatureColumns = None,
    value_column: ValueColumn = None,
    id_column: IdColumn = None,
    recipe: options.RecipeOption = None,
    regularization: options.RegularizationOption = None,
    temperature: options.TemperatureOption = None,
    folds: options.FoldsOption = None,
    view: options.ViewOption = None,
    scaling: options.ScalingOption = None,
    balanced: options.BalancedOption = None,
    time_budget: options.TimeBudgetOption = None,
    hidden_units: options.HiddenUnitsOption = None,
    dropout: options.DropoutOption = None,
    weight_decay: options.WeightDecayOption = None,
    blocks: options.BlocksOption = None,
    learning_rate: options.LearningRateOption = None,
    max_epochs: options.MaxEpochsOption = None,
    patience: options.PatienceOption = None,
    wait: Annotated[bool, typer.Option(help="Wait until the job has ended.")] = True,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Check the examples and make no job.")
    ] = False,
) -> None:
    """Makes a new version of a model from labelled examples.

    In a folder all files of a class's sub-folder count, those of its own sub-folders too; hidden ones are
    skipped. In a file that lists examples, paths are relative to that file.

    Ctrl-C while it waits leaves the job running on the server.

    Example: `headstart fine-tune pets photos/ --alias stable --promote-if-not-worse`

    Of texts: `headstart fine-tune reviews reviews.csv --text-column review --label-column verdict`

    Of what a bucket holds: `headstart fine-tune pets s3://bucket/pets/labels.csv`

    To add examples to a version: `headstart fine-tune pets more-photos/ --parent stable`
    """
    session = session_of(context)
    columns = example_settings(
        label=label_column,
        text=text_column,
        image=image_column,
        value=value_column,
        id=id_column,
        features=feature_columns,
    )
    settings = FineTuneSettings(
        backbone=backbone,
        recipe=options.recipe_of(
            recipe,
            regularization=regularization,
            temperature=temperature,
            folds=folds,
            view=view,
            scaling=scaling,
            balanced=balanced,
            time_budget=time_budget,
            hidden_units=hidden_units,
            dropout=dropout,
            weight_decay=weight_decay,
            blocks=blocks,
            learning_rate=learning_rate,
            max_epochs=max_epochs,
            patience=patience,
        ),
        held_out_fraction=held_out_fraction,
        seed=seed,
        display_name=display_name,
        labels=options.labels_of(label),
        alias=alias,
        ttl=options.lifetime_of(ttl),
        max_excluded_fraction=max_excluded_fraction,
        task=parse_task(task) if task else None,
        promote_if=options.gate_of(promote_if_not_worse, max_drop, max_class_drop, significance, alias),
        parent=options.parent_of(parent, remove),
        remove=remove,
        discard_examples=discard_examples,
        priority=priority,
        webhook=webhook,
        backbone_candidates=candidate,
        backbone_time_budget=options.lifetime_of(choose_within, "--choose-within"),
        **columns,
    )
    if source is None and parent is None:
        raise typer.BadParameter("is needed without --parent", param_hint="SOURCE")
    with session.client() as client:
        if validate_only:
            _validate(session, client, source, model, settings)
        else:
            _run(session, client, source, model, settings, request_id=request_id, wait=wait)


def _validate(
    session: Session, client: Client, source: str | None, model: str, settings: FineTuneSettings
) -> None:
    with progress_view(session.err) as view:
        found = client.validate(source, model=model, on_upload=view.upload, **settings)
    session.show(found, validation_view(found))
    if not found.valid:
        raise typer.Exit(ExitCode.FAILED)


def _run(
    session: Session,
    client: Client,
    source: str | None,
    model: str,
    settings: FineTuneSettings,
    *,
    request_id: str | None,
    wait: bool,
) -> None:
    job: Job | None = None
    try:
        with progress_view(session.err) as view:
            begin = time.monotonic()
            job = client.fine_tune(
                source, model=model, request_id=request_id, on_upload=view.upload, **settings
            )
            upload = timedelta(seconds=time.monotonic() - begin)
            version = job.result(on_event=view.event) if wait else None
    except KeyboardInterrupt:
        say_what_goes_on(session, job)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    show_job(session, client, job, version, upload)


def show_job(
    session: Session, client: Client, job: Job, version: Version | None, upload: timedelta | None = None
) -> None:
    """Shows an accepted job or, if it was waited for, its version, and what to do next."""
    status = job.status()
    if version is None:
        session.show({"job": status}, job_facts(status))
        session.note(f"Follow it: {session.command(f'job watch {job.id}')}")
        return
    session.show({"job": status, "version": version}, version_summary(version, status, upload))
    inputs = _input_of(client, version)
    promotion = version.promotion
    if promotion is None or promotion.promoted:
        session.note(f"Try it: {session.command(f'predict {version.model} {inputs}')}")
        return
    # A command that names the model alone must not reach the version that was rejected.
    served = f"{version.model}@{promotion.alias}" if promotion.baseline_version else version.model
    session.note(
        f"Version {version.number} is not served. Try the one that is: "
        f"{session.command(f'predict {served} {inputs}')}"
    )
    session.note(f"Or the new one: {session.command(f'predict {version.model}@{version.number} {inputs}')}")


def _input_of(client: Client, version: Version) -> str:
    """What a version is asked about, as the command takes it; pictures where that is not to be had."""
    try:
        found = {each.name: each.modality for each in client.backbones()}
    except HeadstartError:
        found = {}
    return _INPUTS.get(found.get(version.lineage.backbone, Modality.IMAGE), _INPUTS[Modality.IMAGE])


def say_what_goes_on(session: Session, job: Job | None) -> None:
    """Tells whoever interrupted what was started."""
    if job is None:
        session.note("Interrupted before the server took the job. Nothing was started.")
        return
    session.note(f"The job goes on. Come back to it: {session.command(f'job watch {job.id}')}")
    session.note(f"Or end it: {session.command(f'job cancel {job.id}')}")
