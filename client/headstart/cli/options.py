"""What several commands ask for in the same words: examples, and which version is meant."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from headstart.examples import URI_BEGINNINGS
from headstart.tables import TABLE_SUFFIXES, Table

__all__ = [
    "SOURCE_HELP",
    "AliasSelector",
    "IdColumn",
    "LabelColumn",
    "TextColumn",
    "ValueColumn",
    "VersionSelector",
    "listed_examples",
]

SOURCE_HELP = (
    "A folder with one sub-folder for each class; or a .csv, .tsv or .jsonl file with the columns path (or "
    "text) and label, labels or value, and if you like id, held_out (true or false) and weight; JSONL also "
    "probabilities of classes; or an .npz file with the arrays features, labels or values, and if you like "
    "ids."
)

TextColumn: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--text-column", metavar="NAME", help="What the column `text` is called.", show_default=False
    ),
]
LabelColumn: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--label-column", metavar="NAME", help="What the column `label` is called.", show_default=False
    ),
]
ValueColumn: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--value-column", metavar="NAME", help="What the column `value` is called.", show_default=False
    ),
]
IdColumn: TypeAlias = Annotated[
    str | None,
    typer.Option("--id-column", metavar="NAME", help="What the column `id` is called.", show_default=False),
]

VersionSelector: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--version",
        "-v",
        help="The number of its version. Default: the newest that no promotion gate rejected.",
    ),
]
AliasSelector: TypeAlias = Annotated[
    str | None, typer.Option("--alias", "-a", help="An alias of its version.")
]


def listed_examples(path: Path | str, **columns: str | None) -> Path | Table | str:
    """Examples of a path, or of a URI; with the names of columns of a file that lists them.

    Raises:
        BadParameter: columns are named, but the path is no file of this machine that lists examples.
    """
    named = {name: column for name, column in columns.items() if column is not None}
    if isinstance(path, str) and path.startswith(URI_BEGINNINGS):
        if named:
            raise typer.BadParameter(
                f"columns can be named of a file of this machine. Received: {path}",
                param_hint=f"--{next(iter(named))}-column",
            )
        return path
    source = Path(path)
    if not named:
        return source
    if source.suffix not in TABLE_SUFFIXES:
        raise typer.BadParameter(
            f"columns can be named of a file that ends in {', '.join(TABLE_SUFFIXES)}. Received: {source}",
            param_hint=f"--{next(iter(named))}-column",
        )
    if not source.exists():
        raise FileNotFoundError(f"There is no folder or file {source}")
    return Table(source, named)
