"""The command `headstart dataset`."""

from itertools import islice
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.text import Text

from headstart.cli.confirmation import confirm
from headstart.cli.help import noun
from headstart.cli.options import SOURCE_HELP, ExampleColumns
from headstart.cli.output.example_tables import dataset_listing, dataset_table, dataset_view
from headstart.cli.output.formats import LIST
from headstart.cli.output.layout import plural
from headstart.cli.output.progress import progress_view
from headstart.cli.session import session_of
from headstart.cli.training.spec_options import TagOption, TaskOption, tags_of
from headstart.inputs.task import parse_task

datasets = noun("dataset", "Upload, list, show and delete datasets of the server.")
DatasetArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="DATASET", help="The dataset.", show_default=False)
]


@datasets.command("create")
def create_dataset(
    context: typer.Context,
    dataset: DatasetArgument,
    *,
    display_name: Annotated[str, typer.Option(metavar="TEXT", help="A title for people.")] = "",
    description: Annotated[str, typer.Option(metavar="TEXT", help="A description for people.")] = "",
    tag: TagOption = None,
) -> None:
    """Create an empty dataset; upload creates it, too.

    Example: `headstart dataset create pets-2026 --tag source=vet`
    """
    session = session_of(context)
    with session.client() as client:
        made = client.dataset(dataset).create(
            display_name=display_name, description=description, tags=tags_of(tag)
        )
    session.show(session.response("CreateDataset"), dataset_view(made))


@datasets.command("upload")
def upload_dataset(
    context: typer.Context,
    dataset: DatasetArgument,
    source: Annotated[Path, typer.Argument(help=SOURCE_HELP, show_default=False)],
    *,
    columns: ExampleColumns,
    task: TaskOption = None,
) -> None:
    """Upload labeled examples to a dataset, which is created if it does not exist.

    The upload continues by itself after a lost connection. If it was stopped, run the same command again.

    Example: `headstart dataset upload pets-2026 photos/`
    """
    session = session_of(context)
    with session.client() as client, progress_view(session.err) as view:
        stored = client.dataset(dataset).upload(
            source, task=parse_task(task) if task else None, on_upload=view.upload, **columns.settings()
        )
    session.show(session.response("FinishDataset"), dataset_view(stored))
    session.note(f"Train on it: {session.command(f'fine-tune MODEL --dataset {dataset}')}")


@datasets.command("list", formats=LIST)
def list_datasets(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="The maximum number of datasets.")] = 1000,
) -> None:
    """List the datasets.

    Example: `headstart dataset list`
    """
    session = session_of(context)
    with session.client() as client:
        listed = list(islice(client.datasets(), limit))
    session.show(session.response("ListDatasets", limit), dataset_table(listed), dataset_listing(listed))


@datasets.command("show")
def show_dataset(context: typer.Context, dataset: DatasetArgument) -> None:
    """Show a dataset with its classes.

    Example: `headstart dataset show pets-2026`
    """
    session = session_of(context)
    with session.client() as client:
        found = client.dataset(dataset).get()
    session.show(session.response("GetDataset"), dataset_view(found))


@datasets.command("delete")
def delete_dataset(
    context: typer.Context,
    dataset: DatasetArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the question.")] = False,
) -> None:
    """Delete a dataset. Jobs and versions that use its examples keep them.

    Example: `headstart dataset delete pets-2026`
    """
    session = session_of(context)
    with session.client() as client:
        handle = client.dataset(dataset)
        if not yes:
            count = handle.get().example_count
            confirm(f"delete dataset {dataset} with {plural(count, 'example')}", skip=False)
        handle.delete()
    session.show(session.response("DeleteDataset"), Text(f"Deleted dataset {dataset}."))
