"""Options that several commands share: examples and versions."""

import csv
from dataclasses import asdict, dataclass
from typing import Annotated, Any, TypeAlias, cast

import typer

from headstart.cli.completion import (
    complete_aliases,
    complete_models,
    complete_numbered_versions,
    complete_versions,
)
from headstart.inputs.examples import ExampleSettings
from headstart.version_ref import parse_version

SOURCE_HELP = (
    "A folder with one sub-folder for each class; or a .csv, .tsv or .jsonl file with the columns path, text "
    "or features, or with columns of numbers; and label, labels or value; and optionally id, held_out and "
    "weight; or an .npz file with the arrays features, and labels or values."
)

_COLUMNS = "Columns of a table"


def _column(name: str, more: str = "") -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        f"--{name}-column",
        metavar="NAME",
        help=f"The name of the column `{name}`.{more}",
        show_default=False,
        rich_help_panel=_COLUMNS,
    )
    return option


ModelArgument: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="The model.", show_default=False, autocompletion=complete_models),
]
VersionArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="MODEL[@VERSION]",
        help="The model, or one of its versions: pets@3 by number, pets@stable by alias. Default: the newest "
        "version that no promotion gate rejected.",
        show_default=False,
        autocompletion=complete_versions,
    ),
]
NumberedVersionArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="MODEL@VERSION",
        help="The version by its number, such as pets@3.",
        show_default=False,
        autocompletion=complete_numbered_versions,
    ),
]
SourceArgument: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="[SOURCE]",
        help="A folder with one sub-folder for each class; a .csv, .tsv or .jsonl table; an .npz file of "
        "features; or a URI that the server reads. Optional with --parent or --dataset.",
        show_default=False,
    ),
]
AliasArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="ALIAS",
        help="The alias, such as stable.",
        show_default=False,
        autocompletion=complete_aliases,
    ),
]


@dataclass(frozen=True, kw_only=True)
class InputColumns:
    """The columns of a table of inputs."""

    label_column: Annotated[str | None, _column("label")] = None
    text_column: Annotated[str | None, _column("text")] = None
    image_column: Annotated[str | None, _column("image", " It holds paths.")] = None
    id_column: Annotated[str | None, _column("id")] = None
    feature_columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="The columns of numbers to learn from. Default: all that hold numbers, if there are neither "
            "texts nor images.",
            show_default=False,
            rich_help_panel=_COLUMNS,
        ),
    ] = None

    def settings(self) -> ExampleSettings:
        """Return the settings of the columns."""
        settings: dict[str, Any] = {name: each for name, each in asdict(self).items() if each is not None}
        if self.feature_columns is not None:
            settings["feature_columns"] = next(csv.reader([self.feature_columns], skipinitialspace=True), [])
        return cast(ExampleSettings, settings)


@dataclass(frozen=True, kw_only=True)
class ExampleColumns(InputColumns):
    """The columns of a table of examples."""

    value_column: Annotated[str | None, _column("value", " It holds numbers to predict.")] = None


def numbered_version(text: str) -> tuple[str, int]:
    """Return the model and the number of a version."""
    target = parse_version(text)
    if target.version is None:
        raise ValueError(f"Expected a version by its number, such as {target.model}@3. Received: {text}")
    return target.model, target.version
