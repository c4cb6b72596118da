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

from headstart.arrays import ARRAYS_SUFFIX, feature_rows
from headstart.cli.documents import document
from headstart.cli.layout import plural
from headstart.cli.options import VersionArgument
from headstart.cli.prediction_tables import prediction_view
from headstart.cli.session import session_of
from headstart.errors import HeadstartError
from headstart.evidence import Abstention
from headstart.inputs import Content, Text
from headstart.results import Prediction
from headstart.version_ref import parse_version

__all__ = ["embed", "predict"]

_PLACE = re.compile(
    r"\b(?:[Ii]nput (\d+)|inputs\[(\d+)\])(?=:)"
)  # how messages begin that are about one input

InputsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="Files: pictures, .txt, .npy, or .npz with an array features, each row an input; - reads a "
        "picture from stdin.",
        show_default=False,
    ),
]
TextOption = Annotated[bool, typer.Option("--text", help="The inputs are texts themselves, not files.")]


def predict(
    context: typer.Context,
    *,
    model: VersionArgument,
    inputs: InputsArgument,
    top_k: Annotated[
        int, typer.Option("--top-k", "-k", min=0, help="The most classes for each input; 0: all.")
    ] = 5,
    text: TextOption = False,
    abstain: Annotated[
        bool,
        typer.Option("--abstain", help="Tell inputs that are unlike the training examples to be unknown."),
    ] = False,
    abstain_rate: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=0.5,
            metavar="RATE",
            help="The share of ordinary inputs that may be unknown by mistake, instead of 0.05.",
        ),
    ] = None,
    min_probability: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Below it the likeliest class is told to be unknown.", show_default=False
        ),
    ] = None,
    neighbors: Annotated[
        int, typer.Option(min=0, max=100, help="Show so many of the nearest training examples.")
    ] = 0,
    saliency: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Write a picture of what speaks for the answer; of several inputs FILE-1.png and on.",
        ),
    ] = None,
    saliency_class: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS", help="The class it is about. Default: the likeliest.", show_default=False
        ),
    ] = None,
    routing_key: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="Where the alias gives other versions a share, the same key gets the same version. "
            "Default: by chance.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Classifies files or texts.

    Example: `headstart predict pets@stable cat.jpg dog.jpg`

    Of texts: `headstart predict reviews --text "A joy from the first minute to the last."`
    """
    session = session_of(context)
    target = parse_version(model)
    if saliency_class and saliency is None:
        raise typer.BadParameter(
            "needs the file to write to, --saliency FILE.png", param_hint="--saliency-class"
        )
    if saliency and saliency.suffix.lower() != ".png":
        raise typer.BadParameter(f"must end in .png. Received: {saliency}", param_hint="--saliency")
    inputs, contents = _contents(inputs, text=text)
    with session.client() as client, _naming(inputs, text=text):
        found = client.predict(
            contents,
            model=target.model,
            version=target.version,
            alias=target.alias,
            top_k=top_k,
            abstain=_abstention(abstain, abstain_rate, min_probability),
            neighbors=neighbors,
            saliency=saliency is not None and (saliency_class or True),
            routing_key=routing_key,
        )
    written = _write_overlays(saliency, found) if saliency else []
    named = [
        {"input": name, **document(_without_overlay(each))} for name, each in zip(inputs, found, strict=True)
    ]
    session.show({"predictions": named}, prediction_view(inputs, found))
    for path in written:
        session.note(f"Written to {path}.")


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
    """Gives the features of files or texts.

    Example: `headstart embed *.jpg --output features.npz`
    """
    session = session_of(context)
    inputs, contents = _contents(inputs, text=text)
    with session.client() as client, _naming(inputs, text=text):
        features = client.embed(contents, backbone=backbone, views=view or ["last"])
    if output is not None:
        arrays: dict[str, Any] = features
        with output.open("wb") as file:  # a file, because numpy adds an ending of its own to a path
            np.savez(file, **arrays)
        done = f"Written to {output}."
    else:
        done = "Write them to a file with --output, or print them with --json."
    lines = [
        f"{name}: {plural(len(array), 'input')}, {array.shape[1]} numbers each"
        for name, array in features.items()
    ]
    session.show({"inputs": inputs, "features": features}, Line("\n".join([*lines, done])))


def _abstention(wanted: bool, rate: float | None, min_probability: float | None) -> Abstention | None:
    if not wanted and rate is None and min_probability is None:
        return None
    if not wanted and rate is None:  # only for being improbable, then, not for being unlike
        rate = 0.0
    return Abstention(false_alarm_rate=rate, min_probability=min_probability or 0.0)


def _write_overlays(file: Path, predictions: list[Prediction]) -> list[Path]:
    shown = [each.saliency.overlay for each in predictions if each.saliency]
    paths = [file.with_stem(f"{file.stem}-{place}") for place, _ in enumerate(shown, 1)]
    paths = [file] if len(shown) == 1 else paths
    for path, picture in zip(paths, shown, strict=True):
        path.write_bytes(picture)
    return paths


def _without_overlay(prediction: Prediction) -> Prediction:
    """A prediction whose picture went to a file, not to the document too."""
    if prediction.saliency is None:
        return prediction
    return replace(prediction, saliency=replace(prediction.saliency, overlay=b""))


def _contents(inputs: list[str], *, text: bool) -> tuple[list[str], list[Content]]:
    """The inputs' names and the inputs themselves; a file of features holds many."""
    if text:
        return inputs, [Text(each) for each in inputs]
    names: list[str] = []
    contents: list[Content] = []
    for each in inputs:
        if Path(each).suffix == ARRAYS_SUFFIX:
            rows = feature_rows(Path(each))
            names += [f"{each}[{place}]" for place in range(len(rows))]
            contents += list(rows)
        else:
            names.append(each)
            contents.append(sys.stdin.buffer.read() if each == "-" else Path(each))
    return names, contents


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
