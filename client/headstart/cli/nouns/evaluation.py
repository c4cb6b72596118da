"""Commands that measure and compare versions."""

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import SOURCE_HELP, ExampleColumns, VersionArgument
from headstart.cli.output.comparison_tables import comparison_view
from headstart.cli.output.evaluation_tables import evaluation_view
from headstart.cli.output.progress import progress_view
from headstart.cli.session import session_of
from headstart.cli.training.spec_options import DatasetOption, TaskOption
from headstart.inputs.task import parse_task
from headstart.version_ref import parse_version

__all__ = ["compare", "evaluate"]


def evaluate(
    context: typer.Context,
    *,
    model: VersionArgument,
    source: Annotated[Path | None, typer.Argument(help=SOURCE_HELP, show_default=False)] = None,
    columns: ExampleColumns,
    dataset: DatasetOption = None,
    task: TaskOption = None,
) -> None:
    """Measure a version on labeled examples, which are not stored.

    Example: `headstart version evaluate pets ./test-folder`
    """
    if source is None and dataset is None:
        raise typer.BadParameter("is needed without --dataset", param_hint="SOURCE")
    session = session_of(context)
    target = parse_version(model)
    with session.client() as client, progress_view(session.err) as view:
        result = client.evaluate(
            source,
            model=target.model,
            version=target.version,
            alias=target.alias,
            task=parse_task(task) if task else None,
            on_upload=view.upload,
            dataset=dataset,
            **columns.settings(),
        )
    session.show(session.response("Evaluate"), evaluation_view(result))


def compare(
    context: typer.Context,
    *,
    first: Annotated[str, typer.Argument(help="A version, such as pets@stable.", show_default=False)],
    second: Annotated[str, typer.Argument(help="The other one, such as pets@7.", show_default=False)],
    source: Annotated[
        Path | None,
        typer.Argument(help=f"{SOURCE_HELP} Default: what both versions know.", show_default=False),
    ] = None,
    dataset: DatasetOption = None,
) -> None:
    """Compare two versions on the same examples, and test whether they differ by more than chance.

    Without examples, uses the out-of-fold predictions of the training examples of both.

    Example: `headstart version compare pets@1 pets@2`
    """
    session = session_of(context)
    with session.client() as client, progress_view(session.err) as view:
        result = client.compare(first, second, source, on_upload=view.upload, dataset=dataset)
    session.show(session.response("Compare"), comparison_view(result))
