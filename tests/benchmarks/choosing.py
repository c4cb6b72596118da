"""Choosing between the backbones of a server: what is found, what is taken, and what it was worth in the end.

Starts its own server on a free port. For each number of digits to train on it has the backbone chosen,
then fits each candidate by its name, which takes no pass any more, and measures all on digits held back.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from rich.console import Console
from rich.table import Table

from headstart import BackboneSelection, CandidateOutcome, Client, Version
from sample_images import LabeledImage, digits, split
from server_process import running

#: Images of each digit to train on, by default.
SHOTS = (2, 5, 20)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shots", type=int, nargs="*", default=SHOTS, help="digits of each kind to train on")
    parser.add_argument("--held-out", type=int, default=50, help="digits of each kind to measure on")
    parser.add_argument(
        "--candidates", nargs="*", default=None, help="backbones; default: the server's choice"
    )
    arguments = parser.parse_args()
    # Wide enough for the tables wherever it is printed.
    console = Console(width=120)
    with (
        tempfile.TemporaryDirectory(prefix="headstart-choosing-") as folder,
        running(Path(folder) / "data", "--metrics-port", "off") as server,
    ):
        server.wait_until_serving()
        # No image is in two sets: features that are cached would make the second one faster.
        (warming, *trained), test = _sets([2, *arguments.shots], arguments.held_out)
        with Client(server.target) as client:
            # So that no table includes the time to load a backbone the first time.
            client.fine_tune(_examples(warming), model="warm", **_auto(arguments.candidates)).result()
            for shots, train in zip(arguments.shots, trained, strict=True):
                console.print(_measured(client, train, test, arguments.candidates, shots))


def _sets(sizes: Sequence[int], held_out: int) -> tuple[list[list[LabeledImage]], list[LabeledImage]]:
    """Sets of so many images of each digit, and one more to measure on."""
    chosen, test = split(digits(), train=sum(sizes), test=held_out)
    of_class: dict[str, list[LabeledImage]] = defaultdict(list)
    for image in chosen:
        of_class[image.label].append(image)
    ends = list(accumulate(sizes))
    return [
        [image for images in of_class.values() for image in images[end - size : end]]
        for size, end in zip(sizes, ends, strict=True)
    ], test


def _measured(
    client: Client,
    train: Sequence[LabeledImage],
    test: Sequence[LabeledImage],
    candidates: Sequence[str] | None,
    shots: int,
) -> Table:
    name = f"digits-{shots}"
    version, seconds = _version(client, train, name, _auto(candidates))
    choice = version.backbone_selection
    assert choice is not None
    table = Table(
        "backbone", "by folds", "behind the best", "ms/input", "MB", "tried in", "fine-tune", "held back",
        title=f"{shots} of each digit: {choice.backbone} taken, {seconds:.2f} s in all",
        title_justify="left",
    )  # fmt: skip
    for row in _rows(client, choice, train, test, name):
        table.add_row(*row)
    return table


def _rows(
    client: Client,
    choice: BackboneSelection,
    train: Sequence[LabeledImage],
    test: Sequence[LabeledImage],
    name: str,
) -> list[list[str]]:
    rows = []
    for each in choice.candidates:
        if each.outcome is not CandidateOutcome.TRIED or each.accuracy is None:
            rows.append([each.backbone, each.message])
            continue
        model = f"{name}-{each.backbone}"
        _, again = _version(client, train, model, {"backbone": each.backbone})
        result = client.evaluate(_examples(test), model=model)
        rows.append(
            [
                ("> " if each.backbone == choice.backbone else "  ") + each.backbone,
                f"{each.accuracy:.1%} ± {each.standard_error:.1%}",
                f"{each.gap:.1%} ± {each.gap_standard_error:.1%}" if each.gap else "best",
                f"{each.latency_duration.total_seconds() * 1000:.1f}" if each.latency_duration else "",
                f"{each.size_bytes / 1e6:.0f}",
                f"{each.spent_duration.total_seconds():.2f} s" if each.spent_duration else "",
                f"{again:.2f} s",
                f"{result.metrics.accuracy:.1%}",
            ]
        )
    return rows


def _version(
    client: Client, images: Sequence[LabeledImage], model: str, settings: dict[str, object]
) -> tuple[Version, float]:
    began = time.perf_counter()
    version = client.fine_tune(_examples(images), model=model, **settings).result()
    return version, time.perf_counter() - began


def _auto(candidates: Sequence[str] | None) -> dict[str, object]:
    return {"backbone": "auto", "backbone_candidates": candidates}


def _examples(images: Sequence[LabeledImage]) -> list[tuple[bytes, str]]:
    return [(image.png, image.label) for image in images]


if __name__ == "__main__":
    main()
