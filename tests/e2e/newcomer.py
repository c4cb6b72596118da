"""What readers of the documentation have: files, a terminal, and the blocks of code of a page."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

from benchmarks import reviews
from benchmarks.sample_images import digits, split

#: Addresses in the documentation.
GRPC, HTTP = "localhost:8765", "localhost:8080"


def write_files(folder: Path) -> None:
    """Write the files that pages use: two folders of photos, two images more, and a list of texts."""
    train, test = split([each for each in digits() if each.label in "01"], train=5, test=6)
    cat, dog = test[0], test[6]
    new = [each for each in test if each not in (cat, dog)]
    for place, images in (("photos", train), ("new-photos", new)):
        for image in images:
            path = folder / place / {"0": "cat", "1": "dog"}[image.label] / f"{image.id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image.png)
    for name, image in (("cat.jpg", cat), ("dog.jpg", dog)):
        (folder / name).write_bytes(image.png)
    with (folder / "reviews.csv").open("w", newline="") as file:
        rows = ((review.text, review.label) for review in reviews.split(train=15, test=0)[0])
        csv.writer(file).writerows([("review", "verdict"), *rows])


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Return language, name and code of each named block, such as ```sh tour-train."""
    return re.findall(r"^```(sh|python) (\S+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def run(command: list[str], folder: Path, target: str) -> str:
    """Return what a command prints to stdout."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "HEADSTART_SERVER": target, "PATH": path, "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
