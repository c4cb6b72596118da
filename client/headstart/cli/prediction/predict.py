"""Commands that predict, and that return features."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer
from rich.text import Text as Line

from headstart.cli.help import ADVANCED
from headstart.cli.options import (
    FeatureColumns,
    IdColumn,
    ImageColumn,
    LabelColumn,
    TextColumn,
    VersionArgument,
    example_settings,
)
from headstart.cli.output.layout import plural
from headstart.cli.output.prediction_tables import prediction_view
from headstart.cli.prediction.batch import BatchPrediction, named_inputs
from headstart.cli.session import session_of
from headstart.evidence import Abstention
from headstart.inputs.prediction_inputs import InputSettings
from headstart.prediction_settings import PredictSettings
from headstart.results import PredictedInput, Prediction

__all__ = ["embed", "predict"]


class ErrorsChoice(StrEnum):
    """Handling of unusable inputs."""

    SKIP = "skip"
    FAIL = "fail"


InputsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="Files: images, .txt, .npy; folders of them; tables: .csv, .tsv, .jsonl, or .npz with an array "
        "features. - reads an image from stdin.",
        show_default=False,
    ),
]
TextOption = Annotated[bool, typer.Option("--text", help="The inputs are texts themselves, not files.")]


TopK = Annotated[int, typer.Option("--top-k", "-k", min=0, help="The most classes for each input; 0: all.")]
OutputTable = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write the predictions to this .csv, .tsv or .jsonl file, or as CSV to stdout (-). If the "
        "command is interrupted, run it again: it continues.",
        show_default=False,
    ),
]
ErrorsOption = Annotated[
    ErrorsChoice,
    typer.Option(help="Skip inputs that cannot be used and exit with 6, or fail at the first one."),
]
Abstain = Annotated[
    bool,
    typer.Option("--abstain", help="Report inputs unlike the training examples as unknown."),
]
AbstainRate = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=0.5,
        metavar="RATE",
        rich_help_panel=ADVANCED,
        help="The fraction of ordinary inputs that may be unknown by mistake, instead of 0.05.",
    ),
]
MinProbability = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        rich_help_panel=ADVANCED,
        help="Report an input as unknown if its most probable class has a lower probability.",
        show_default=False,
    ),
]
Neighbors = Annotated[
    int, typer.Option(min=0, max=100, help="Show this many of the nearest training examples.")
]
InfluenceOption = Annotated[
    int,
    typer.Option(
        min=0,
        max=100,
        rich_help_panel=ADVANCED,
        help="Show this many training examples whose omission would change the prediction most.",
    ),
]
SaliencyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.png",
        help="Write an image of what supports the prediction; for several inputs FILE-1.png etc.",
    ),
]
SaliencyClass = Annotated[
    str | None,
    typer.Option(
        metavar="CLASS",
        rich_help_panel=ADVANCED,
        help="The class that --saliency explains. Default: the most probable.",
        show_default=False,
    ),
]
RoutingKey = Annotated[
    str,
    typer.Option(
        metavar="KEY",
        rich_help_panel=ADVANCED,
        help="Where the alias splits traffic, the same key gets the same version. Default: random.",
        show_default=False,
    ),
]


def predict(
    context: typer.Context,
    *,
    model: VersionArgument,
    inputs: InputsArgument,
    top_k: TopK = 5,
    text: TextOption = False,
    output: OutputTable = None,
    errors: ErrorsOption = ErrorsChoice.SKIP,
    label_column: LabelColumn = None,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    feature_columns: FeatureColumns = None,
    id_column: IdColumn = None,
    abstain: Abstain = False,
    abstain_rate: AbstainRate = None,
    min_probability: MinProbability = None,
    neighbors: Neighbors = 0,
    influence: InfluenceOption = 0,
    saliency: SaliencyFile = None,
    saliency_class: SaliencyClass = None,
    routing_key: RoutingKey = "",
) -> None:
    """Predict images, texts or rows of numbers, of files, folders and tables.

    Example: `headstart predict pets@stable cat.jpg dog.jpg`

    A folder: `headstart predict pets@stable photos/ -o labels.csv`

    A table: `headstart predict reviews reviews.csv --text-column review -o labels.csv`

    Texts: `headstart predict reviews --text "A joy from the first minute to the last."`
    """
    session = session_of(context)
    if saliency_class and saliency is None:
        raise typer.BadParameter(
            "needs the file to write to, --saliency FILE.png", param_hint="--saliency-class"
        )
    if saliency and (saliency.suffix.lower() != ".png" or output is not None):
        problem = "cannot be combined with --output" if output is not None else "must end in .png"
        raise typer.BadParameter(f"{problem}. Received: {saliency}", param_hint="--saliency")
    columns = example_settings(
        label=label_column,
        text=text_column,
        image=image_column,
        value=None,
        id=id_column,
        features=feature_columns,
    )
    settings = PredictSettings(
        top_k=top_k,
        abstain=_abstention(abstain, abstain_rate, min_probability),
        neighbors=neighbors,
        influence=influence,
        saliency=saliency is not None and (saliency_class or True),
        routing_key=routing_key,
    )
    job = BatchPrediction(
        session=session,
        model=model,
        settings=settings,
        sources=inputs,
        columns=cast(InputSettings, columns),
        is_text=text,
        fails=errors is ErrorsChoice.FAIL,
    )
    if output is not None:
        job.write(output)
        return
    predicted = job.collect()
    names = [each.name for each in predicted]
    predictions = [cast(Prediction, each.outcome) for each in predicted]
    written = _write_overlays(saliency, predicted) if saliency else []
    session.show(job.document(predicted), prediction_view(names, predictions))
    for path in written:
        session.note(f"Written to {path}.")
    job.end()


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
    """Return the features of files or texts.

    Example: `headstart embed *.jpg --output features.npz`
    """
    session = session_of(context)
    items = list(named_inputs(inputs, {}, is_text=text))
    with session.client() as client:
        features = client.embed(items, backbone=backbone, views=view or ["last"])
    if output is not None:
        arrays: dict[str, Any] = features
        with output.open("wb") as file:  # numpy would append a suffix to a path
            np.savez(file, **arrays)
        done = f"Written to {output}."
    else:
        done = "Write them to a file with --output, or print them with --json."
    lines = [
        f"{name}: {plural(len(array), 'input')}, {array.shape[1]} numbers each"
        for name, array in features.items()
    ]
    names = [item.name for item in items]
    session.show({"inputs": names, **session.response("Embed")}, Line("\n".join([*lines, done])))


def _abstention(enabled: bool, rate: float | None, min_probability: float | None) -> Abstention | None:
    if not enabled and rate is None and min_probability is None:
        return None
    if not enabled and rate is None:  # only improbable inputs are unknown, not unlike ones
        rate = 0.0
    return Abstention(false_alarm_rate=rate, min_probability=min_probability or 0.0)


def _write_overlays(file: Path, predicted: list[PredictedInput]) -> list[Path]:
    """Write saliency images to files and remove them from the JSON document."""
    messages = [each.message for each in predicted if each.message and each.message.HasField("saliency")]
    images = [each.saliency.overlay for each in messages]
    for each in messages:
        each.saliency.ClearField("overlay")
    paths = [file.with_stem(f"{file.stem}-{number}") for number, _ in enumerate(images, 1)]
    paths = [file] if len(images) == 1 else paths
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(image)
    return paths
