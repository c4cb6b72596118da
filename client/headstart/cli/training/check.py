"""The command that validates a dataset."""

import typer

from headstart.cli.exits import ExitCode
from headstart.cli.options import ExampleColumns, ModelArgument, SourceArgument
from headstart.cli.output.finding_tables import validation_view
from headstart.cli.output.progress import progress_view
from headstart.cli.session import session_of
from headstart.cli.training import spec_options as options
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
