"""The command `headstart version`."""

from typing import Annotated

import typer
from rich.text import Text

from headstart.cli.confirmation import confirm
from headstart.cli.evaluation import compare, evaluate
from headstart.cli.export import export
from headstart.cli.formats import LIST
from headstart.cli.help import noun
from headstart.cli.listings import version_listing
from headstart.cli.model_tables import version_table
from headstart.cli.options import ModelArgument, NumberedVersionArgument, numbered_version
from headstart.cli.report import report
from headstart.cli.session import session_of

__all__ = ["versions"]

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
        found = client.get_model(model, max_versions=limit).versions
    session.show(
        {"versions": session.response("GetModel").get("versions")},
        version_table(found),
        version_listing(found),
    )


versions.command()(compare)
versions.command()(report)
versions.command()(export)
versions.command()(evaluate)


@versions.command("delete")
def delete_version(
    context: typer.Context,
    version: NumberedVersionArgument,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Delete the aliases of the version and its traffic, too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the question.")] = False,
) -> None:
    """Delete a version.

    Example: `headstart version delete pets@2`
    """
    model, number = numbered_version(version)
    what = f"version {number} of model {model}"
    confirm(f"delete {what}", skip=yes)
    session = session_of(context)
    with session.client() as client:
        client.delete_version(model, number, force=force)
    session.show(session.response("DeleteVersion"), Text(f"Deleted {what}."))
