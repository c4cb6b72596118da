"""The command `headstart backbone`."""

import typer

from headstart.cli.help import noun
from headstart.cli.output.formats import LIST
from headstart.cli.output.listings import backbone_listing
from headstart.cli.output.model_tables import backbone_list
from headstart.cli.session import session_of

__all__ = ["backbones"]

backbones = noun("backbone", "List the backbones of the server.")


@backbones.command("list", formats=LIST)
def list_backbones(context: typer.Context) -> None:
    """List the backbones of the server.

    Example: `headstart backbone list`
    """
    session = session_of(context)
    with session.client() as client:
        listed = client.backbones()
    session.show(session.response("ListBackbones"), backbone_list(listed), backbone_listing(listed))
