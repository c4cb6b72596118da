"""What several commands ask for in the same words: examples, and which version is meant."""

from typing import Annotated, TypeAlias

import typer

from headstart.targets import Target, parse_target

__all__ = ["SOURCE_HELP", "AliasSelector", "VersionSelector", "selected"]

SOURCE_HELP = (
    "A folder with one sub-folder for each class, or a .csv or .jsonl file with the columns path (or text) "
    "and label, labels or value, and if you like id, held_out (true or false) and weight; JSONL also "
    "probabilities of classes."
)

VersionSelector: TypeAlias = Annotated[
    int | None, typer.Option("--version", "-v", help="The number of its version. Default: the newest.")
]
AliasSelector: TypeAlias = Annotated[
    str | None, typer.Option("--alias", "-a", help="An alias of its version.")
]


def selected(model: str, version: int | None, alias: str | None) -> Target:
    """The version that is meant; without an option the model's name may tell, as in ``pets@3``.

    Raises:
        ValueError: both a version and an alias are given.
    """
    if version is None and alias is None:
        return parse_target(model)
    return Target(model, version=version, alias=alias)
