"""The command `headstart version`."""

from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from headstart.calls.model_calls import Details
from headstart.cli.confirmation import confirm, deleted_version
from headstart.cli.exits import ExitCode
from headstart.cli.help import noun
from headstart.cli.nouns.report import report
from headstart.cli.options import (
    SOURCE_HELP,
    ExampleColumns,
    ModelArgument,
    NumberedVersionArgument,
    VersionArgument,
    numbered_version,
)
from headstart.cli.output.comparison_tables import comparison_view
from headstart.cli.output.evaluation_tables import evaluation_view
from headstart.cli.output.formats import LIST
from headstart.cli.output.listings import version_listing
from headstart.cli.output.model_tables import version_table, version_view
from headstart.cli.output.progress import progress_view
from headstart.cli.session import session_of
from headstart.cli.training.spec_options import DatasetOption, TaskOption
from headstart.inputs.task import parse_task
from headstart.version_ref import parse_version


class FormOption(StrEnum):
    """The formats of an export."""

    KERAS = "keras"
    SAVED_MODEL = "savedmodel"
    ONNX = "onnx"
    OPENVINO = "openvino"
    LITERT = "litert"


def export(
    context: typer.Context,
    *,
    model: VersionArgument,
    form: Annotated[
        FormOption,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="keras, savedmodel, onnx, openvino or litert.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="The file, or the folder for a format of several files.",
            show_default=False,
        ),
    ],
) -> None:
    """Export a version with its backbone as one network for other runtimes.

    Example: `headstart version export pets --format onnx --output pets.onnx`
    """
    session = session_of(context)
    target = parse_version(model)
    with session.client() as client:
        exported = client.export(target.model, target.version, target.alias, format=form.value, path=output)
    if session.as_json:
        header = session.response("ExportVersion")["header"]
        session.print_json({**header, "path": str(exported.path)}, indent=2)
    else:
        session.out.print(
            f"{exported.model}, version {exported.version}: written to {exported.path}", soft_wrap=True
        )


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

    Examples that cannot be used are listed, and the exit code is then 6, or 1 if none can be used.

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
    if result.fault_count:
        is_measured = result.evaluation.metrics.example_count > 0
        raise typer.Exit(ExitCode.INCOMPLETE if is_measured else ExitCode.FAILED)


def compare(
    context: typer.Context,
    *,
    first: Annotated[str, typer.Argument(help="A version, such as pets@stable.", show_default=False)],
    second: Annotated[str, typer.Argument(help="The other one, such as pets@7.", show_default=False)],
    source: Annotated[
        Path | None,
        typer.Argument(help=f"{SOURCE_HELP} Default: the training examples of both.", show_default=False),
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


versions = noun("version", "List, measure, compare, export and delete versions.")


@versions.command("list", formats=LIST)
def list_versions(
    context: typer.Context,
    model: ModelArgument,
    limit: Annotated[int, typer.Option(min=1, help="The maximum number of versions, newest first.")] = 20,
) -> None:
    """List the versions of a model with their metrics.

    Example: `headstart version list pets`
    """
    session = session_of(context)
    with session.client() as client:
        result = list(islice(client.versions(model), limit))
    session.show(session.response("ListVersions", limit), version_table(result), version_listing(result))


@versions.command("show")
def show_version(context: typer.Context, version: VersionArgument) -> None:
    """Show the lineage and the metrics of a version.

    Example: `headstart version show pets@stable`
    """
    session = session_of(context)
    with session.client() as client:
        result = client.get_version(version)
    session.show(session.response("GetVersion"), version_view(result))


versions.command()(compare)
versions.command()(report)
versions.command()(export)
versions.command()(evaluate)


@versions.command("update")
def update_version(
    context: typer.Context,
    version: NumberedVersionArgument,
    *,
    display_name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The new title.", show_default=False)
    ] = None,
    description: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The new description.", show_default=False)
    ] = None,
) -> None:
    """Change the title or the description of a version.

    Example: `headstart version update pets@3 --display-name "Autumn collection"`
    """
    model, number = numbered_version(version)
    details = Details()
    if display_name is not None:
        details["display_name"] = display_name
    if description is not None:
        details["description"] = description
    session = session_of(context)
    with session.client() as client:
        result = client.update_version(model, number, **details)
    session.show(session.response("UpdateVersion"), version_view(result))


@versions.command("delete")
def delete_version(
    context: typer.Context,
    version: NumberedVersionArgument,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="With --yes: delete the aliases that name the version, too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the question.")] = False,
) -> None:
    """Delete a version. The question names the aliases that are deleted with it.

    Example: `headstart version delete pets@2`
    """
    model, number = numbered_version(version)
    session = session_of(context)
    with session.client() as client:
        if not yes:
            result = client.get_version(model, version=number)
            confirm(f"delete {deleted_version(result)}", skip=False)
            force = force or bool(result.aliases)
        client.delete_version(model, number, force=force)
    session.show(session.response("DeleteVersion"), Text(f"Deleted version {number} of model {model}."))
