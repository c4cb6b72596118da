"""Commands about models, versions, aliases and backbones."""

import sys
from typing import Annotated

import typer
from rich.text import Text

from headstart.cli.model_tables import (
    backbone_list,
    deleted_example_view,
    model_table,
    model_view,
    shares_text,
)
from headstart.cli.session import session_of

__all__ = ["alias", "backbones", "delete", "forget_example", "list_models", "model"]


def list_models(context: typer.Context) -> None:
    """Lists the models.

    Example: `headstart models`
    """
    session = session_of(context)
    with session.client() as client:
        found, usage = client.models(), client.usage()
    session.show({"models": found, "usage": usage}, model_table(found, usage))


def model(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model.", show_default=False)],
    limit: Annotated[int, typer.Option(min=1, help="The most versions to list, the newest first.")] = 20,
) -> None:
    """Shows a model with its versions, aliases and metrics.

    Example: `headstart model pets`
    """
    session = session_of(context)
    with session.client() as client:
        found = client.model(name, max_versions=limit)
    session.show(found, model_view(found))


def alias(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model.", show_default=False)],
    alias: Annotated[
        str, typer.Argument(metavar="ALIAS", help="The alias, such as stable.", show_default=False)
    ],
    version: Annotated[
        int | None,
        typer.Argument(
            metavar="VERSION", help="The number of the version it shall name.", show_default=False
        ),
    ] = None,
    share: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VERSION=SHARE",
            help="A share of its calls to predict that another version answers, such as 8=5%; may be given "
            "more than once. Default: none, and those it had end.",
            show_default=False,
        ),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the alias.")] = False,
    etag: Annotated[
        str | None, typer.Option(help="Act only if the alias has this etag now.", show_default=False)
    ] = None,
) -> None:
    """Sets, moves or removes an alias of a model.

    Example: `headstart alias pets stable 3`

    A twentieth of its calls go to version 4: `headstart alias pets stable 3 --share 4=5%`
    """
    if remove == (version is not None):
        raise typer.BadParameter(
            f"Expected a version, or --remove. Received: {'both' if remove else 'neither'}.",
            param_hint="VERSION",
        )
    shares = _shares(share or ())
    if remove and shares:
        raise typer.BadParameter(
            "Expected no shares of an alias that is removed. Received: some.", param_hint="--share"
        )
    session = session_of(context)
    with session.client() as client:
        if version is None:
            client.remove_alias(name, alias, etag)
            session.show({"removed": alias}, Text(f"{name} has no alias {alias} now."))
            return
        moved = client.set_alias(name, alias, version, etag, shares=shares)
    given = f" Of its calls to predict: {shares_text(moved)}." if moved.shares else ""
    session.show(moved, Text(f"{name}@{moved.name} is version {moved.version} now.{given}"))


def delete(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model.", show_default=False)],
    version: Annotated[
        int | None,
        typer.Argument(help="The number of a version. Default: the whole model.", show_default=False),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Remove the aliases that name the version, and its shares, too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Deletes a version, or a model with all its versions.

    Example: `headstart delete pets 2`
    """
    what = f"model {name} with all its versions" if version is None else f"version {version} of model {name}"
    if not yes:
        _confirm(f"delete {what}")
    session = session_of(context)
    with session.client() as client:
        if version is None:
            count = client.delete_model(name)
        else:
            client.delete_version(name, version, force=force)
            count = 1
    session.show({"deleted_versions": count}, Text(f"Deleted {what}."))


def forget_example(
    context: typer.Context,
    *,
    example_id: Annotated[
        str, typer.Argument(metavar="ID", help="The id that the example was sent with.", show_default=False)
    ],
    model: Annotated[
        str | None, typer.Option(help="Only the examples of this model. Default: of all.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Deletes the data of an example, and lists the versions that were trained on it.

    Example: `headstart forget-example cat-17.jpg --model pets`
    """
    if not yes:
        _confirm(f"delete the data of example {example_id}")
    session = session_of(context)
    with session.client() as client:
        deleted = client.delete_example(example_id, model)
    session.show(deleted, deleted_example_view(example_id, deleted))


def backbones(context: typer.Context) -> None:
    """Lists the backbones of the server.

    Example: `headstart backbones`
    """
    session = session_of(context)
    with session.client() as client:
        found = client.backbones()
    session.show({"backbones": found}, backbone_list(found))


def _shares(texts: list[str] | tuple[()]) -> dict[int, float]:
    shares: dict[int, float] = {}
    for number, share in map(_share, texts):
        if number in shares:
            raise typer.BadParameter(
                f"Expected one share for each version. Received: version {number} again.",
                param_hint="--share",
            )
        shares[number] = share
    return shares


def _share(text: str) -> tuple[int, float]:
    """Reads ``8=5%`` and ``8=0.05``; what a share may be is the server's to say."""
    number, _, share = text.partition("=")
    try:
        return int(number), float(share[:-1]) / 100 if share.endswith("%") else float(share)
    except ValueError:
        raise typer.BadParameter(
            f"Expected VERSION=SHARE, such as 8=5%. Received: {text}", param_hint="--share"
        ) from None


def _confirm(what: str) -> None:
    if not sys.stdin.isatty():
        raise ValueError(f"There is nobody to ask whether to {what}. Confirm it with --yes.")
    typer.confirm(f"{what[0].upper()}{what[1:]}?", abort=True, err=True)
