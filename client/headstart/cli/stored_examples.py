"""The command `headstart example`."""

from typing import Annotated

import typer

from headstart.cli.completion import complete_models
from headstart.cli.confirmation import confirm
from headstart.cli.help import noun
from headstart.cli.output.model_tables import erased_example_view
from headstart.cli.session import session_of

__all__ = ["stored_examples"]

stored_examples = noun("example", "List, show, relabel, remove and erase examples.")
_ALL_MODELS = "-"


@stored_examples.command("erase")
def erase_example(
    context: typer.Context,
    *,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="The model, or - for all models.",
            show_default=False,
            autocompletion=complete_models,
        ),
    ],
    example_id: Annotated[
        str, typer.Argument(metavar="ID", help="The ID that the example was sent with.", show_default=False)
    ],
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Also replace each version that was trained on it by one that is fitted without it.",
        ),
    ] = False,
    request_id: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="Repeating a complete erasure with the same ID prints the same certificate.",
            show_default=False,
        ),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the question.")] = False,
) -> None:
    """Erase the content and features of an example, and list the versions that were trained on it.

    Example: `headstart example erase pets cat/17.jpg`
    """
    where = "all models" if model == _ALL_MODELS else f"model {model}"
    replaced = ", and replace every version that was trained on it" if rebuild else ""
    confirm(f"erase example {example_id} of {where}{replaced}", skip=yes)
    session = session_of(context)
    with session.client() as client:
        erased = client.erase_example(model, example_id, rebuild=rebuild, request_id=request_id)
    session.show(session.response("EraseExample"), erased_example_view(example_id, erased))
