"""Commands that predict, and that return features."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer
from rich.text import Text as Line

from headstart.arguments import PredictSettings
from headstart.cli.help import ADVANCED
from headstart.cli.options import InputColumns, VersionArgument
from headstart.cli.output.layout import plural
from headstart.cli.output.prediction_tables import prediction_view
from headstart.cli.prediction.batch import BatchPrediction, named_inputs
from headstart.cli.session import session_of
from headstart.evidence import Abstention
from headstart.inputs.prediction_inputs import InputSettings
from headstart.results import PredictedInput, Prediction


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


@dataclass(frozen=True, kw_only=True)
class EvidenceOptions:
    """The classes and the evidence to show for each input."""

    top_k: Annotated[
        int,
        typer.Option("--top-k", "-k", min=0, help="The maximum number of classes for each input; 0: all."),
    ] = 5
    abstain: Annotated[
        bool,
        typer.Option("--abstain", help="Report inputs unlike the training examples as unknown."),
    ] = False
    abstain_rate: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=0.5,
            metavar="RATE",
            rich_help_panel=ADVANCED,
            help="The fraction of ordinary inputs that may be unknown by mistake, instead of 0.05.",
        ),
    ] = None
    min_probability: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            rich_help_panel=ADVANCED,
            help="Report an input as unknown if its most probable class has a lower probability.",
            show_default=False,
        ),
    ] = None
    neighbors: Annotated[
        int, typer.Option(min=0, max=100, help="Show this many of the nearest training examples.")
    ] = 0
    influence: Annotated[
        int,
        typer.Option(
            min=0,
            max=100,
            rich_help_panel=ADVANCED,
            help="Show this many training examples whose omission would change the prediction most.",
        ),
    ] = 0
    saliency: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Write an image of the parts that support the prediction; for many inputs FILE-1.png etc.",
        ),
    ] = None
    saliency_class: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            rich_help_panel=ADVANCED,
            help="The class that --saliency explains. Default: the most probable.",
            show_default=False,
        ),
    ] = None
    routing_key: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            rich_help_panel=ADVANCED,
            help="Where the alias splits traffic, the same key gets the same version. Default: random.",
            show_default=False,
        ),
    ] = ""

    def settings(self, *, is_table: bool) -> PredictSettings:
        """Return the settings of the calls; `is_table`: whether the predictions are written to a table."""
        if self.saliency_class and self.saliency is None:
            raise typer.BadParameter(
                "needs the file to write to, --saliency FILE.png", param_hint="--saliency-class"
            )
        if self.saliency and (self.saliency.suffix.lower() != ".png" or is_table):
            problem = "cannot be combined with --output" if is_table else "must end in .png"
            raise typer.BadParameter(f"{problem}. Received: {self.saliency}", param_hint="--saliency")
        return PredictSettings(
            top_k=self.top_k,
            abstain=self._abstention(),
            neighbors=self.neighbors,
            influence=self.influence,
            saliency=self.saliency is not None and (self.saliency_class or True),
            routing_key=self.routing_key,
        )

    def _abstention(self) -> Abstention | None:
        rate, min_probability = self.abstain_rate, self.min_probability
        if not self.abstain and rate is None and min_probability is None:
            return None
        if not self.abstain and rate is None:  # only improbable inputs are unknown, not unlike ones
            rate = 0.0
        return Abstention(false_alarm_rate=rate, min_probability=min_probability or 0.0)


def predict(
    context: typer.Context,
    *,
    model: VersionArgument,
    inputs: InputsArgument,
    text: TextOption = False,
    output: OutputTable = None,
    errors: ErrorsOption = ErrorsChoice.SKIP,
    columns: InputColumns,
    evidence: EvidenceOptions,
) -> None:
    """Predict images, texts or rows of numbers, of files, folders and tables.

    Example: `headstart predict pets@stable cat.jpg dog.jpg`

    A folder: `headstart predict pets@stable photos/ -o labels.csv`

    A table: `headstart predict reviews reviews.csv --text-column review -o labels.csv`

    Texts: `headstart predict reviews --text "A joy from the first minute to the last."`
    """
    session = session_of(context)
    job = BatchPrediction(
        session=session,
        model=model,
        settings=evidence.settings(is_table=output is not None),
        sources=inputs,
        columns=cast(InputSettings, columns.settings()),
        is_text=text,
        fails=errors is ErrorsChoice.FAIL,
    )
    if output is not None:
        job.write(output)
        return
    predicted = job.collect()
    names = [each.name for each in predicted]
    predictions = [cast(Prediction, each.outcome) for each in predicted]
    written = _write_overlays(evidence.saliency, predicted) if evidence.saliency else []
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
