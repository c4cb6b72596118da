"""Commands that ask models and backbones."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.text import Text as Line

from headstart.cli.documents import document
from headstart.cli.session import session_of
from headstart.cli.tables import prediction_table
from headstart.errors import HeadstartError
from headstart.inputs import Content, Text
from headstart.targets import Target, parse_target

__all__ = ["embed", "predict"]

_PLACE = re.compile(
    r"\b(?:[Ii]nput (\d+)|inputs\[(\d+)\])(?=:)"
)  # how messages begin that are about one input

InputsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="Files: pictures, .txt or .npy; - reads a picture from stdin.",
        show_default=False,
    ),
]
TextOption = Annotated[bool, typer.Option("--text", help="The inputs are texts themselves, not files.")]


def predict(
    context: typer.Context,
    *,
    model: Annotated[
        str,
        typer.Argument(
            help="The model to ask; pets@3 or pets@stable names its version too.", show_default=False
        ),
    ],
    inputs: InputsArgument,
    version: Annotated[
        int | None, typer.Option("--version", "-v", help="The number of its version. Default: the newest.")
    ] = None,
    alias: Annotated[str | None, typer.Option("--alias", "-a", help="An alias of its version.")] = None,
    top_k: Annotated[
        int, typer.Option("--top-k", "-k", min=0, help="The most classes for each input; 0: all.")
    ] = 5,
    text: TextOption = False,
) -> None:
    """Classifies files.

    Example: `headstart predict pets cat.jpg dog.jpg --alias stable`
    """
    session = session_of(context)
    target = _target(model, version, alias)
    with session.client() as client, _naming(inputs, text=text):
        found = client.predict(
            _contents(inputs, text=text),
            model=target.model,
            version=target.version,
            alias=target.alias,
            top_k=top_k,
        )
    named = [{"input": name, **document(each)} for name, each in zip(inputs, found, strict=True)]
    session.show({"predictions": named}, prediction_table(inputs, found))


def embed(
    context: typer.Context,
    *,
    inputs: InputsArgument,
    backbone: Annotated[
        str | None, typer.Option("--backbone", "-b", help="The backbone. Default: the server's default.")
    ] = None,
    view: Annotated[
        list[str] | None,
        typer.Option(
            help="A view to return; may be given more than once. Default: last.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the features to this .npz file, an array for each view."),
    ] = None,
    text: TextOption = False,
) -> None:
    """Gives the features of files.

    Example: `headstart embed *.jpg --output features.npz`
    """
    session = session_of(context)
    with session.client() as client, _naming(inputs, text=text):
        features = client.embed(_contents(inputs, text=text), backbone=backbone, views=view or ["last"])
    if output is not None:
        arrays: dict[str, Any] = features
        with output.open("wb") as file:  # a file, because numpy adds an ending of its own to a path
            np.savez(file, **arrays)
        done = f"Written to {output}."
    else:
        done = "Write them to a file with --output, or print them with --json."
    lines = [
        f"{name}: {len(array)} inputs, {array.shape[1]} numbers each" for name, array in features.items()
    ]
    session.show({"inputs": inputs, "features": features}, Line("\n".join([*lines, done])))


def _contents(inputs: list[str], *, text: bool) -> list[Content]:
    if text:
        return [Text(each) for each in inputs]
    return [sys.stdin.buffer.read() if each == "-" else Path(each) for each in inputs]


def _target(model: str, version: int | None, alias: str | None) -> Target:
    if version is None and alias is None:
        return parse_target(model)
    return Target(model, version=version, alias=alias)


@contextmanager
def _naming(inputs: list[str], *, text: bool) -> Iterator[None]:
    """Lets errors name a file where they name the place of an input."""

    def named(message: str) -> str:
        def name(found: re.Match[str]) -> str:
            place = int(found[1] or found[2])
            return inputs[place] if place < len(inputs) and not text else found[0]

        return _PLACE.sub(name, message)

    try:
        yield
    except HeadstartError as error:
        violations = tuple(
            replace(each, description=named(each.description)) for each in error.field_violations
        )
        details = replace(error.details, message=named(error.message), field_violations=violations)
        raise type(error)(details) from None
    except ValueError as error:
        raise ValueError(named(str(error))) from None
