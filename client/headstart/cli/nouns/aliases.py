"""The command `headstart alias`."""

from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from headstart.cli.completion import complete_aliases
from headstart.cli.help import noun
from headstart.cli.options import AliasArgument, ModelArgument
from headstart.cli.output.formats import LIST
from headstart.cli.output.listings import alias_event_listing, alias_listing
from headstart.cli.output.model_tables import alias_event_table, alias_table, traffic_text
from headstart.cli.session import session_of

aliases = noun("alias", "List, move and delete aliases, split their traffic, and list their moves.")

EtagOption = Annotated[
    str | None, typer.Option(help="Fail unless the alias has this etag.", show_default=False)
]


@aliases.command("list", formats=LIST)
def list_aliases(context: typer.Context, model: ModelArgument) -> None:
    """List the aliases of a model.

    Example: `headstart alias list pets`
    """
    session = session_of(context)
    with session.client() as client:
        listed = client.get_model(model, max_versions=0).aliases
    document = session.response("GetModel").get("model", {}).get("aliases")
    session.show({"aliases": document}, alias_table(model, listed), alias_listing(model, listed))


@aliases.command("history", formats=LIST)
def list_alias_events(
    context: typer.Context,
    model: ModelArgument,
    alias: Annotated[
        str | None,
        typer.Argument(
            metavar="[ALIAS]",
            help="Only this alias.",
            show_default=False,
            autocompletion=complete_aliases,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The maximum number of moves, newest first.")] = 20,
) -> None:
    """List the moves of aliases: who moved them when, from which version to which.

    To roll back, set the alias to the previous version.

    Example: `headstart alias history pets stable`
    """
    session = session_of(context)
    with session.client() as client:
        events = list(islice(client.alias_events(model, alias), limit))
    session.show(
        session.response("ListAliasEvents", limit),
        alias_event_table(model, events),
        alias_event_listing(events),
    )


@aliases.command("set")
def set_alias(
    context: typer.Context,
    *,
    model: ModelArgument,
    alias: AliasArgument,
    version: Annotated[
        int, typer.Argument(metavar="VERSION", help="The number of the version to name.", show_default=False)
    ],
    traffic: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VERSION=FRACTION",
            help="Let another version answer a fraction of the predictions, such as 8=5%. Repeatable. "
            "Without it, VERSION answers all of them.",
            show_default=False,
        ),
    ] = None,
    etag: EtagOption = None,
) -> None:
    """Make an alias name a version, now.

    Example: `headstart alias set pets stable 3`

    Send 5 % of the predictions to version 4: `headstart alias set pets stable 3 --traffic 4=5%`
    """
    fractions = _fractions(traffic or ())
    session = session_of(context)
    with session.client() as client:
        moved = client.set_alias(model, alias, version, etag, traffic=fractions)
    split = f" Traffic: {traffic_text(moved)}." if moved.traffic else ""
    session.show(
        session.response("SetAlias"), Text(f"{model}@{moved.alias} is version {moved.version} now.{split}")
    )


@aliases.command("delete")
def delete_alias(
    context: typer.Context, model: ModelArgument, alias: AliasArgument, etag: EtagOption = None
) -> None:
    """Delete an alias. Its version stays.

    Example: `headstart alias delete pets canary`
    """
    session = session_of(context)
    with session.client() as client:
        client.delete_alias(model, alias, etag)
    session.show(session.response("DeleteAlias"), Text(f"Deleted alias {alias} of model {model}."))


def _fractions(texts: list[str] | tuple[()]) -> dict[int, float]:
    fractions: dict[int, float] = {}
    for number, fraction in map(_fraction, texts):
        if number in fractions:
            raise typer.BadParameter(
                f"Expected one fraction for each version. Received: version {number} twice.",
                param_hint="--traffic",
            )
        fractions[number] = fraction
    return fractions


def _fraction(text: str) -> tuple[int, float]:
    """Read ``8=5%`` and ``8=0.05``; the server checks the range."""
    number, _, fraction = text.partition("=")
    try:
        return int(number), float(fraction[:-1]) / 100 if fraction.endswith("%") else float(fraction)
    except ValueError:
        raise typer.BadParameter(
            f"Expected VERSION=FRACTION, such as 8=5%. Received: {text}", param_hint="--traffic"
        ) from None
