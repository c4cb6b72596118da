"""Measures Headstart on this machine, and prints tables in Markdown that the documentation quotes.

Everything is measured in one run, so that ratios hold on noisy machines.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import speed
from headstart import Client
from headstart_server.backbones.catalog import DEFAULT, Catalog
from headstart_server.backbones.contract.runtimes import Precision
from headstart_server.backbones.preprocessing.images import ImageDecoder
from headstart_server.embedding.queue import QUIET_SECONDS
from report import WRITE_HELP, machine, print_table, software, write_section
from sample_images import LabeledImage, digits, split
from server_process import ServerProcess, running
from speed import Speed, Subject, program
from targets import (
    MODEL,
    Target,
    concurrency_targets,
    examples,
    fine_tune_targets,
    many_versions,
    timed_fine_tune,
    version_targets,
)

#: Backbones that this benchmark prepares, apart from those of the user, whose defaults they would change.
CACHE = Path(__file__).parents[2] / "build" / "bench-backbones"
#: Seconds of load with --quick: fewer give figures that differ by a tenth from run to run.
QUICK_SECONDS = 2.0
#: Comparisons of Predict with decoding and network alone.
TURNS, QUICK_TURNS = 5, 3
#: Photographs of the first target.
FEW = 100

Digits = tuple[Sequence[LabeledImage], Sequence[LabeledImage]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Figures of a server in one precision.

    Attributes:
        start: seconds from its start until it serves, and its resident memory then.
        photographs: seconds from the FineTune call to the first Predict, and of the same again.
        digits: seconds of a fine-tune on digits and of its steps, and its accuracy.
        speed: figures of Predict.
        rows: calls a second with one row of features each, by the method.
        memory: resident memory after all loads.
    """

    start: tuple[float, int]
    photographs: tuple[float, float]
    digits: dict[str, float]
    speed: Speed
    rows: dict[str, float]
    memory: int


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    setting = f"Machine: {machine()}. Software: {software()}."
    print(f"{setting}\n", flush=True)
    # A converted network is in the cache from a server's second start on: that is what is measured.
    print(f"{speed.prepare(CACHE)}\n", flush=True)
    subjects = [Subject(precision=each, cache=CACHE) for each in speed.precisions(CACHE)]
    train, test = split(digits(), train=20, test=40)
    with tempfile.TemporaryDirectory(prefix="headstart-bench-") as name:
        folder = Path(name)
        measured: dict[str, Measured] = {}
        targets: list[Target] = []
        for subject in subjects[:2]:
            with served(folder / subject.name, subject) as (server, start):
                measured[subject.name] = measure(server, start, subject, (train, test), arguments)
                if subject is subjects[0] and not arguments.only_speed:
                    with Client(server.target, timeout=300) as client:
                        targets += fine_tune_targets(client)
                        targets += concurrency_targets(server, client, arguments.seconds)
        networks = {each.name: speed.network(each, arguments.seconds) for each in subjects}
        keras = {} if arguments.only_speed else keras_recipe(folder, train, test)
        held: list[tuple[str, str]] = []
        if not arguments.only_speed:
            in_floats = next(each for each in subjects if each.precision is not Precision.INT8)
            targets += version_targets(folder / "many", in_floats, arguments.seconds)
            held = [] if arguments.quick else [many_versions(folder / "more", in_floats)]
    print_table(
        "Targets",
        ("what", "target", "measured", "reached"),
        [each.row for each in (*precision_targets(measured, networks, keras), *targets)],
    )
    print_tables(measured, networks, keras, held)
    if arguments.write:
        write_section("make bench", setting)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, help="seconds of load at each concurrency (default: 6)")
    parser.add_argument("--quick", action="store_true", help="loads of 2 s and fewer repetitions")
    parser.add_argument(
        "--only-speed", action="store_true", help="leave out fine-tunes under load, many versions, and Keras"
    )
    parser.add_argument("--write", action="store_true", help=WRITE_HELP)
    arguments = parser.parse_args()
    arguments.seconds = arguments.seconds or (QUICK_SECONDS if arguments.quick else 6.0)
    arguments.turns = QUICK_TURNS if arguments.quick else TURNS
    return arguments


@contextmanager
def served(data: Path, subject: Subject) -> Iterator[tuple[ServerProcess, tuple[float, int]]]:
    """Run a server in one precision; yields it with the seconds until it serves and its memory then."""
    began = time.perf_counter()
    with running(data, "--metrics-port", "0", *subject.flags) as server:
        server.wait_until_serving()
        yield server, (time.perf_counter() - began, server.rss)
        server.terminate()


def measure(
    server: ServerProcess,
    start: tuple[float, int],
    subject: Subject,
    images: Digits,
    arguments: argparse.Namespace,
) -> Measured:
    """Measure what depends on the precision."""
    few = examples(FEW, 0)
    with Client(server.target, timeout=300) as client:
        first, again = timed_fine_tune(client, few), timed_fine_tune(client, few)
        ours = digits_job(client, *images)
        predicted = speed.speed(server.target, MODEL, subject, arguments.seconds, arguments.turns)
        rows = speed.feature_rows(server.target, client, arguments.seconds)
    return Measured(
        start=start, photographs=(first, again), digits=ours, speed=predicted, rows=rows, memory=server.rss
    )


def digits_job(
    client: Client, train: Sequence[LabeledImage], test: Sequence[LabeledImage]
) -> dict[str, float]:
    """Seconds and accuracy of a fine-tune on digits, and the seconds of its steps."""
    # Keras trains alone, too: next to recent Predicts the batches of training are half as large.
    time.sleep(1.1 * QUIET_SECONDS)
    began = time.perf_counter()
    job = client.fine_tune([(image.png, image.label) for image in train], model=MODEL)
    job.result()
    seconds = time.perf_counter() - began
    steps = {step: spent.total_seconds() for step, spent in job.status().step_durations.items()}
    predictions = client.predict([image.png for image in test], model=MODEL)
    right = [prediction.label == image.label for prediction, image in zip(predictions, test, strict=True)]
    return {**steps, "seconds": seconds, "accuracy": float(np.mean(right))}


def keras_recipe(
    folder: Path, train: Sequence[LabeledImage], test: Sequence[LabeledImage]
) -> dict[str, float]:
    """Return seconds and accuracy of the usual recipe, run in a separate process."""
    path = folder / "digits.npz"
    names = sorted({image.label for image in train})
    arrays: dict[str, np.ndarray] = {}
    for part, images in (("train", train), ("test", test)):
        arrays[f"{part}_rows"] = decoded(images)
        arrays[f"{part}_labels"] = np.array([names.index(image.label) for image in images])
    np.savez(path, **arrays)
    return program("keras_recipe.py", str(path))


def decoded(images: Sequence[LabeledImage]) -> np.ndarray:
    """The rows that the default backbone takes, made by the server's own preprocessing."""
    decoder = ImageDecoder(Catalog().info(DEFAULT).input_size[0])
    return np.stack([decoder.decode(image.png) for image in images])


def precision_targets(
    measured: Mapping[str, Measured], networks: Mapping[str, Mapping[str, float]], keras: Mapping[str, float]
) -> list[Target]:
    """Return the targets whose figures depend on the precision; the first one must reach them."""
    fastest, best = next(iter(measured.items()))
    first, again = best.photographs
    start, memory = best.start
    shares = {name: each.speed.shares for name, each in measured.items()}
    lowest = min(each.share for each in shares[fastest].values())
    parts = [
        f"{name}: " + ", ".join(f"{callers} callers {share.text}" for callers, share in each.items())
        for name, each in shares.items()
    ]
    alone = networks[fastest]
    targets = [
        Target(
            what=f"FineTune call to first Predict, {FEW} photographs of 500 x 400 / the same again",
            target="≤ 0.5 s / ≤ 0.2 s",
            measured=_each(measured, lambda each: "{:.2f} s / {:.2f} s".format(*each.photographs)),
            reached=first <= 0.5 and again <= 0.2,
        ),
        Target(
            what="features: share of what OpenVINO alone does in process on the same batch",
            target="≥ 90 %",
            measured=f"{alone['engine'] / alone['alone']:.0%} ({fastest}: {alone['engine']:.0f} of "
            f"{alone['alone']:.0f} rows/s)",
            reached=alone["engine"] >= 0.9 * alone["alone"],
        ),
        Target(
            what="Predict: share of decoding and network alone in the same precision, load from "
            f"{best.speed.generator}",
            target="≥ 90 %",
            measured="; ".join(parts),
            reached=lowest >= 0.9,
        ),
        Target(
            what="process start to SERVING, network converted / resident memory then",
            target="≤ 1.5 s / ≤ 300 MB",
            measured=_each(measured, lambda each: f"{each.start[0]:.1f} s / {each.start[1] / 1e6:.0f} MB"),
            reached=start <= 1.5 and memory <= 300e6,
        ),
    ]
    return targets + _feature_targets(networks) + _row_targets(best) + _keras_targets(measured, keras)


def _each(measured: Mapping[str, Measured], text: Callable[[Measured], str]) -> str:
    """Return a figure of each precision."""
    return "; ".join(f"{name}: {text(each)}" for name, each in measured.items())


def _feature_targets(networks: Mapping[str, Mapping[str, float]]) -> list[Target]:
    """Return how much faster features are in 8 bits."""
    int8 = networks.get(Precision.INT8.value)
    if int8 is None:
        return []
    least = {Precision.BFLOAT16.value: 1.2, Precision.FLOAT32.value: 2.2}
    ratios = {name: int8["engine"] / networks[name]["engine"] for name in least if name in networks}
    return [
        Target(
            what=f"features a second in int8, compared with {' / '.join(ratios)}",
            target=" / ".join(f"≥ {least[name]} times" for name in ratios),
            measured=" / ".join(f"{ratio:.2f} times" for ratio in ratios.values()),
            reached=all(ratio >= least[name] for name, ratio in ratios.items()),
        )
    ]


def _row_targets(best: Measured) -> list[Target]:
    """Return how many rows of features a server takes, which need no network."""
    if not best.rows:
        return []
    return [
        Target(
            what=f"calls/s with a row of features each, {speed.ROW_CALLERS} callers, load from h2load: "
            f"{' / '.join(best.rows)}",
            target="≥ 1,500",
            measured=" / ".join(f"{rate:,.0f}" for rate in best.rows.values()),
            reached=max(best.rows.values()) >= 1500,
        )
    ]


def _keras_targets(measured: Mapping[str, Measured], keras: Mapping[str, float]) -> list[Target]:
    """Return the comparison with the common recipe."""
    if not keras:
        return []
    ratios = {name: keras["seconds"] / each.digits["seconds"] for name, each in measured.items()}
    gains = {name: 100 * (each.digits["accuracy"] - keras["accuracy"]) for name, each in measured.items()}
    fastest = next(iter(measured))
    return [
        Target(
            what="compared with the common Keras recipe, 200 digits / accuracy",
            target="≥ 60 times faster / not lower",
            measured="; ".join(
                f"{name}: {ratios[name]:.0f} times / {gains[name]:+.1f} points" for name in measured
            ),
            reached=ratios[fastest] >= 60 and gains[fastest] >= 0,
        )
    ]


def print_tables(
    measured: Mapping[str, Measured],
    networks: Mapping[str, Mapping[str, float]],
    keras: Mapping[str, float],
    held: Sequence[tuple[str, str]],
) -> None:
    """Print the tables below the one of the targets."""
    figures = ("calls/s", "p50", "p99")
    print_table(
        "Predict, one 640 x 480 JPEG a call",
        (
            "precision",
            "callers",
            *(f"{speed.H2LOAD}: {each}" for each in figures),
            *(f"{speed.PYTHON} client: {each}" for each in figures),
            "share of decoding and network alone",
        ),
        [row for name, each in measured.items() for row in each.speed.rows(name)],
    )
    print_table(
        "Features of decoded images",
        ("precision", "rows/s", "of OpenVINO alone"),
        [
            (name, f"{each['engine']:.0f}", f"{each['engine'] / each['alone']:.0%}")
            for name, each in networks.items()
        ],
    )
    if keras:
        times = [
            (f"Headstart in {name}, FineTune call to published version", each.digits)
            for name, each in measured.items()
        ]
        print_table(
            "Compared with the common Keras recipe: frozen base, Dropout, Dense, Adam, 20 epochs",
            ("200 digits, 20 of each class", "seconds", "accuracy on 400 others"),
            [
                (what, f"{each['seconds']:.2f}", f"{each['accuracy']:.1%}")
                for what, each in (*times, ("Keras `fit`, the same network and images", keras))
            ],
        )
    best = next(iter(measured.values()))
    print_table(
        "Other figures",
        ("what", "measured"),
        [
            ("features, 200 digits", f"{200 / best.digits['features']:.0f} images/s"),
            ("solve, 200 digits of 10 classes", f"{best.digits['fit'] * 1e3:.0f} ms"),
            ("an empty method, 32 callers", f"{best.speed.empty:.0f} calls/s"),
            ("resident memory after all loads", _each(measured, lambda each: f"{each.memory >> 20} MiB")),
            *held,
        ],
    )


if __name__ == "__main__":
    main()
