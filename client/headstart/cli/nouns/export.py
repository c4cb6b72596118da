"""The command that exports a version for other runtimes."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import VersionArgument
from headstart.cli.session import session_of
from headstart.version_ref import parse_version

__all__ = ["export"]


class FormOption(StrEnum):
    """The formats of an export."""

    KERAS = "keras"
    SAVED_MODEL = "savedmodel"
    ONNX = "onnx"
    OPENVINO = "openvino"
    LITERT = "litert"


def export(
    context: typer.Context,
    *,
    model: VersionArgument,
    form: Annotated[
        FormOption,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="keras, savedmodel, onnx, openvino or litert.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="The file, or the folder for a format of several files.",
            show_default=False,
        ),
    ],
) -> None:
    """Export a version with its backbone as one network for other runtimes.

    Example: `headstart version export pets --format onnx --output pets.onnx`
    """
    session = session_of(context)
    target = parse_version(model)
    with session.client() as client:
        exported = client.export(target.model, target.version, target.alias, format=form.value, path=output)
    if session.as_json:
        header = session.response("ExportVersion")["header"]
        session.print_json({**header, "path": str(exported.path)}, indent=2)
    else:
        session.out.print(
            f"{exported.model}, version {exported.version}: written to {exported.path}", soft_wrap=True
        )
