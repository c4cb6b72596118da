"""The command `headstart version`."""

from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from headstart.calls.model_calls import Details
from headstart.cli.confirmation import confirm, deleted_version
from headstart.cli.help import noun
from headstart.cli.nouns.evaluation import compare, evaluate
from headstart.cli.nouns.export import export
from headstart.cli.nouns.report import report
from headstart.cli.options import ModelArgument, NumberedVersionArgument, VersionArgument, numbered_version
from headstart.cli.output.formats import LIST
from headstart.cli.output.listings import version_listing
from headstart.cli.output.model_tables import version_table, version_view
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
        result = list(islice(client.versions(model), limit))
    document = session.response("ListVersions")
    document["versions"] = document.get("versions", [])[:limit]
    session.show(document, version_table(result), version_listing(result))


@versions.command("show")
def show_version(context: typer.Context, version: VersionArgument) -> None:
    """Show where a version came from and how good it is.

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
