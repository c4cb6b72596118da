"""The main job on real images: handwritten digits become a model that reads digits.

Starts its own server on a free port, and leaves nothing running.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from headstart import Client, Job, JobStatus, Prediction
from sample_images import LabeledImage, digits, split
from server_process import FIRST_START_SECONDS, running


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=10, help="examples of each digit to train on")
    parser.add_argument("--held-out", type=int, default=50, help="examples of each digit to predict")
    arguments = parser.parse_args()
    console = Console()
    train, test = split(digits(), train=arguments.examples, test=arguments.held_out)
    with tempfile.TemporaryDirectory(prefix="headstart-demo-") as folder:
        console.print("Starting a server; the first start on a machine converts the pretrained network ...")
        began = time.perf_counter()
        with running(Path(folder) / "data", "--metrics-port", "off") as server:
            server.wait_until_serving(FIRST_START_SECONDS)
            console.print(f"Serving on {server.target} after {time.perf_counter() - began:.1f} s.\n")
            with Client(server.target) as client:
                run(console, client, train, test)
            server.terminate()
    console.print("\nThe server has stopped; nothing is left behind.")
    command = Path(sys.executable).with_name("headstart")
    console.print(
        "To open the console on your own photos, with a folder for each class: "
        f"{os.path.relpath(command)} try ./photos",
        soft_wrap=True,
    )


def run(
    console: Console, client: Client, train: Sequence[LabeledImage], test: Sequence[LabeledImage]
) -> None:
    """Fine-tune on some images, predict the others, and print what came of it."""
    console.print(f"[bold]Fine-tuning[/] 'digits' on {len(train)} images it has never seen.")
    began = time.perf_counter()
    job = client.fine_tune([(image.png, image.label) for image in train], model="digits")
    follow(console, job)
    client.predict(test[0].png, model="digits")
    to_first = time.perf_counter() - began
    status = job.status()

    began = time.perf_counter()
    predictions = client.predict([image.png for image in test], model="digits")
    seconds = time.perf_counter() - began
    labels = [image.label for image in test]
    right = sum(prediction.label == label for prediction, label in zip(predictions, labels, strict=True))
    version = client.get_model("digits").versions[0]

    console.print(f"\n[bold]Predicted[/] {len(test)} images that were held back:")
    console.print(f"  accuracy {right / len(test):.1%}  ({right} of {len(test)})")
    metrics = version.metrics
    if metrics.accuracy is not None:
        console.print(
            f"  estimated before, by cross-validation on the training images: {metrics.accuracy:.1%} "
            f"({metrics.accuracy_low:.1%} to {metrics.accuracy_high:.1%})"
        )
    console.print(confusion_table(labels, predictions))
    console.print(times_table(status, to_first, seconds / len(test)))


def follow(console: Console, job: Job) -> None:
    """Show the progress of a job until it has succeeded."""
    columns = (TextColumn("  {task.description:10}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as bars:
        bar = bars.add_task("queued", total=1.0)
        for event in job.watch():
            if event.progress is not None:
                step = event.progress.step.value.lower()
                bars.update(bar, description=step, completed=event.progress.fraction)
    job.result()


def confusion_table(
    labels: Sequence[str], predictions: Sequence[Prediction], *, what: str = "digit"
) -> Table:
    """What each class was taken for.

    Args:
        labels: what each input is.
        predictions: the predictions for them.
        what: what a class is.
    """
    names = sorted(set(labels))
    cells = Counter((label, prediction.label) for label, prediction in zip(labels, predictions, strict=True))
    table = Table(title=f"\nRows: the {what} it is; columns: the {what} it was taken for", box=None)
    table.add_column("", style="bold")
    for name in names:
        table.add_column(name, justify="right", header_style="bold")
    for actual in names:
        row = []
        for predicted in names:
            count = cells[actual, predicted]
            style = "green" if actual == predicted else "red"
            row.append(f"[{style}]{count}[/]" if count else "[dim].[/]")
        table.add_row(actual, *row)
    return table


def times_table(status: JobStatus, to_first: float, each: float, *, what: str = "image") -> Table:
    """Where the time went.

    Args:
        status: of the job.
        to_first: seconds from the FineTune call to the first prediction.
        each: seconds for each input predicted afterwards.
        what: what an input is.
    """
    table = Table(title="\nWhere the time went", box=None, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    steps = {step: spent.total_seconds() for step, spent in status.step_durations.items()}
    about = {
        "features": f"to decode the {what}s and pass each through the backbone once",
        "fit": "to fit the head, settings chosen by cross-validation",
        "evaluate": "to measure it",
        "publish": "to store and publish the version",
    }
    for step, text in about.items():
        table.add_row(f"{steps.get(step, 0.0):.3f} s", text)
    table.add_row(f"[bold]{to_first:.3f} s[/]", "[bold]from the FineTune call to the first prediction[/]")
    table.add_row(f"{each * 1e3:.1f} ms", f"for each {what} predicted afterwards")
    return table


if __name__ == "__main__":
    main()
