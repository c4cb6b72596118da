"""What several commands ask for in the same words: examples, and which version is meant."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from headstart.examples import URI_BEGINNINGS
from headstart.tables import TABLE_SUFFIXES, Table
from headstart.version_ref import parse_version

__all__ = [
    "SOURCE_HELP",
    "AliasArgument",
    "IdColumn",
    "LabelColumn",
    "ModelArgument",
    "NumberedVersionArgument",
    "TextColumn",
    "ValueColumn",
    "VersionArgument",
    "listed_examples",
    "numbered_version",
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

ModelArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="MODEL", help="The model.", show_default=False)
]
VersionArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="MODEL[@VERSION]",
        help="The model, or one of its versions: pets@3 by number, pets@stable by alias. Default: the newest "
        "version that no promotion gate rejected.",
        show_default=False,
    ),
]
NumberedVersionArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="MODEL@VERSION", help="The version by its number, such as pets@3.", show_default=False
    ),
]
AliasArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="ALIAS", help="The alias, such as stable.", show_default=False)
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


def numbered_version(text: str) -> tuple[str, int]:
    """The model and the number of a version.

    Raises:
        ValueError: the text names no version by its number.
    """
    target = parse_version(text)
    if target.version is None:
        raise ValueError(f"Expected a version by its number, such as {target.model}@3. Received: {text}")
    return target.model, target.version
