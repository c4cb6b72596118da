"""Measures Headstart on this machine, and prints tables in Markdown that the documentation quotes.

Everything is measured in one run, so that ratios hold on noisy machines.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headstart import Client
from headstart_server.backbones.catalog import DEFAULT, Catalog
from headstart_server.backbones.pictures import PictureDecoder
from pictures import Picture, digits, photographs, split
from report import machine, print_table, software
from server_process import ServerProcess, running

HERE = Path(__file__).parent
MODEL = "bench"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="seconds of load at each concurrency")
    arguments = parser.parse_args()
    print(f"Machine: {machine()}\nSoftware: {software()}\n")
    train, test = split(digits(), train=20, test=40)
    with tempfile.TemporaryDirectory(prefix="headstart-bench-") as folder:
        # A converted network is in the cache from a server's second start on: that is what is measured.
        subprocess.run(
            [sys.executable, "-m", "headstart_server", "prepare", DEFAULT], check=True, capture_output=True
        )
        began = time.perf_counter()
        with running(Path(folder) / "data", "--metrics-port", "-1") as server:
            server.wait_until_serving()
            start = {
                "process start to SERVING, network converted": f"{time.perf_counter() - began:.1f} s",
                "resident memory once SERVING": f"{server.rss >> 20} MiB",
            }
            with Client(server.target, timeout=300) as client:
                trained = fine_tune_rows(client, train, test)
            ours = trained.pop("seconds"), trained.pop("accuracy")
            loads = predict_rows(server, arguments.seconds)
            start["resident memory after the load"] = f"{server.rss >> 20} MiB"
            server.terminate()
        keras = keras_recipe(Path(folder), train, test)
    print_table("Fine-tune", ("what", "measured"), list(trained.items()))
    print_table(
        "Against the usual Keras recipe (frozen base in the graph, Dropout, Dense, Adam, 20 epochs)",
        ("200 digits, 20 of each class", "seconds", "accuracy on 400 others"),
        [
            ("Headstart, FineTune call to published version", f"{ours[0]:.2f}", f"{ours[1]:.1%}"),
            (
                "Keras `fit`, the same network and pictures",
                f"{keras['seconds']:.2f}",
                f"{keras['accuracy']:.1%}",
            ),
            (
                "ratio",
                f"{keras['seconds'] / ours[0]:.1f} times faster",
                f"{100 * (ours[1] - keras['accuracy']):+.1f} points",
            ),
        ],
    )
    print_table("Predict, one 640 x 480 JPEG a call", ("callers", "calls/s", "p50", "p99"), loads)
    print_table("Start and memory", ("what", "measured"), list(start.items()))


def fine_tune_rows(client: Client, train: Sequence[Picture], test: Sequence[Picture]) -> dict[str, object]:
    """Fine-tune on photographs and on digits; what was measured, by name."""
    pets = [(file, f"class-{index % 2}") for index, file in enumerate(photographs(100, (500, 400)))]
    first = timed_fine_tune(client, pets)
    again = timed_fine_tune(client, pets)
    began = time.perf_counter()
    job = client.fine_tune([(picture.png, picture.label) for picture in train], model=MODEL)
    job.wait()
    seconds = time.perf_counter() - began
    steps = {step: spent.total_seconds() for step, spent in job.status().step_times.items()}
    predictions = client.predict([picture.png for picture in test], model=MODEL)
    right = [prediction.label == picture.label for prediction, picture in zip(predictions, test, strict=True)]
    return {
        "FineTune call to first Predict, 100 photographs of 500 x 400": f"{first:.2f} s",
        "the same photographs again": f"{again:.2f} s",
        "features, 200 digits": f"{len(train) / steps['features']:.0f} pictures/s",
        "solve, 200 digits of 10 classes": f"{steps['fit'] * 1e3:.0f} ms",
        "seconds": seconds,
        "accuracy": float(np.mean(right)),
    }


def timed_fine_tune(client: Client, examples: Sequence[tuple[bytes, str]]) -> float:
    """Seconds from the FineTune call to the first answer of the new version."""
    began = time.perf_counter()
    version = client.fine_tune(examples, model="pets").wait()
    prediction = client.predict(examples[0][0], model="pets")
    assert prediction.version == version.number
    return time.perf_counter() - began


def predict_rows(server: ServerProcess, seconds: float) -> list[tuple[str, ...]]:
    """Throughput and latency of Predict at several concurrencies."""
    rows = []
    for concurrency in (1, 8, 32):
        command = [sys.executable, str(HERE / "load.py"), server.target, MODEL]
        command += ["--concurrency", str(concurrency), "--seconds", str(seconds)]
        measured = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        rows.append(
            (
                str(concurrency),
                f"{measured['per_second']:.0f}",
                f"{measured['p50_ms']:.0f} ms",
                f"{measured['p99_ms']:.0f} ms",
            )
        )
    return rows


def keras_recipe(folder: Path, train: Sequence[Picture], test: Sequence[Picture]) -> dict[str, float]:
    """Seconds and accuracy of the usual recipe, in a process of its own."""
    path = folder / "digits.npz"
    names = sorted({picture.label for picture in train})
    arrays: dict[str, np.ndarray] = {}
    for part, pictures in (("train", train), ("test", test)):
        arrays[f"{part}_rows"] = decoded(pictures)
        arrays[f"{part}_labels"] = np.array([names.index(picture.label) for picture in pictures])
    np.savez(path, **arrays)
    command = [sys.executable, str(HERE / "keras_recipe.py"), str(path)]
    measured: dict[str, float] = json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
    return measured


def decoded(pictures: Sequence[Picture]) -> np.ndarray:
    """The rows that the default backbone takes, made by the server's own preprocessing."""
    decoder = PictureDecoder(Catalog().info(DEFAULT).input_size[0])
    return np.stack([decoder.decode(picture.png) for picture in pictures])


if __name__ == "__main__":
    main()
