"""The command that validates a dataset."""

import typer

from headstart.cli.exits import ExitCode
from headstart.cli.options import (
    FeatureColumns,
    IdColumn,
    ImageColumn,
    LabelColumn,
    ModelArgument,
    SourceArgument,
    TextColumn,
    ValueColumn,
    example_settings,
)
from headstart.cli.output.finding_tables import validation_view
from headstart.cli.output.progress import progress_view
from headstart.cli.session import session_of
from headstart.cli.training import spec_options as options
from headstart.cli.training.recipe_settings import recipe_of
from headstart.inputs.task import parse_task
from headstart.spec import SpecSettings

__all__ = ["check"]


def check(
    context: typer.Context,
    *,
    model: ModelArgument,
    source: SourceArgument = None,
    backbone: options.BackboneOption = None,
    parent: options.ParentOption = None,
    remove: options.RemoveOption = None,
    label_column: LabelColumn = None,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    feature_columns: FeatureColumns = None,
    value_column: ValueColumn = None,
    id_column: IdColumn = None,
    task: options.TaskOption = None,
    recipe: options.RecipeOption = None,
    settings: options.SetOption = None,
    held_out_fraction: options.HeldOutOption = 0.0,
    max_excluded_fraction: options.MaxExcludedOption = 0.0,
    seed: options.SeedOption = 0,
) -> None:
    """Check examples without training: find unusable ones, duplicates and wrong labels.

    Takes the arguments of fine-tune. Exits with 1 if a fine-tune would fail.

    Example: `headstart check pets photos/`
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
    spec = SpecSettings(
        backbone=backbone,
        recipe=recipe_of(recipe, settings),
        parent=options.parent_of(parent, remove),
        remove=remove,
        task=parse_task(task) if task else None,
        held_out_fraction=held_out_fraction,
        max_excluded_fraction=max_excluded_fraction,
        seed=seed,
    )
    if source is None and parent is None:
        raise typer.BadParameter("is needed without --parent", param_hint="SOURCE")
    with session.client() as client, progress_view(session.err) as view:
        validation = client.validate(source, model=model, on_upload=view.upload, **spec, **columns)
    session.show(session.response("FineTune").get("validation"), validation_view(validation))
    if not validation.valid:
        raise typer.Exit(ExitCode.FAILED)
