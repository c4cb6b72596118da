"""The command `headstart backbone`."""

import typer

from headstart.cli.help import noun
from headstart.cli.model_tables import backbone_list
from headstart.cli.session import session_of

__all__ = ["backbones"]

backbones = noun("backbone", "List the backbones of the server.")


@backbones.command("list")
def list_backbones(context: typer.Context) -> None:
    """List the backbones of the server.

    Example: `headstart backbone list`
    """
    session = session_of(context)
    with session.client() as client:
        found = client.backbones()
    session.show({"backbones": found}, backbone_list(found))
