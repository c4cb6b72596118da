"""The input of a check, and the main job of most checks: fine-tune, predict, restart, predict the same."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.sample_images import digits, split
from install.environments import CheckFailed, Distribution, Environment, Python, Resolution
from install.server import InstalledServer, serving

MODEL = "digits"


class Skipped(Exception):
    """A check that needs a program that is missing on this machine."""


@dataclass(frozen=True)
class Times:
    """Seconds to the first answer.

    Attributes:
        cold: from the first start, with the fine-tune.
        warm: from a restart on the same data.
    """

    cold: float
    warm: float


class Images:
    """PNG files of handwritten zeros and ones.

    Attributes:
        folder: those to train on, in a folder for each class.
        files: others, by their class.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "digits"
        train, test = split([each for each in digits() if each.label in "01"], train=8, test=2)
        for each in train:
            path = self.folder / each.label / f"{each.id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(each.png)
        self.files: dict[Path, str] = {}
        for each in test:
            path = folder / f"{each.label}-{each.id}.png"
            path.write_bytes(each.png)
            self.files[path] = each.label


class Companion:
    """An environment with a complete server, for the checks of what installs none. Made when first needed.

    Args:
        folder: takes the environment.
        python: its interpreter.
        distribution: what is installed.
        resolution: of its versions. A prepared backbone belongs to one version of OpenVINO.
    """

    def __init__(
        self, folder: Path, python: Python, distribution: Distribution, resolution: Resolution
    ) -> None:
        self._folder = folder
        self._python = python
        self._distribution = distribution
        self._resolution = resolution

    @cached_property
    def environment(self) -> Environment:
        made = Environment(self._folder / "companion", self._python)
        made.install(self._distribution, "wheel", ["server"], self._resolution)
        return made

    @cached_property
    def prepared(self) -> Path:
        """Return a folder with the default backbone, prepared."""
        folder = self._folder / "prepared"
        self.environment.run("headstart-server", "prepare", "efficientnet-lite0", "--backbone-cache", folder)
        return folder

    @contextmanager
    def serving(self, data: Path) -> Iterator[InstalledServer]:
        """Serve during the block."""
        with serving(self.environment, data, "--prepared-backbones", self.prepared) as server:
            yield server


@dataclass(frozen=True)
class Case:
    """What a check is given.

    Attributes:
        environment: with the extra.
        images: to fine-tune on and to predict.
        companion: a complete server.
        scratch: an empty folder.
    """

    environment: Environment
    images: Images
    companion: Companion
    scratch: Path

    @property
    def prepared(self) -> tuple[object, ...]:
        """Return the flag of a server that takes the companion's prepared backbone."""
        return ("--prepared-backbones", self.companion.prepared)


def headstart(case: Case, target: str, *arguments: object) -> Any:
    """Run the environment's `headstart` against a server; returns its JSON."""
    return json.loads(case.environment.run("headstart", "--json", "--server", target, *arguments))


def fine_tune(case: Case, target: str, *flags: object) -> None:
    """Fine-tune on the folder of images."""
    version = headstart(case, target, "fine-tune", MODEL, case.images.folder, *flags)["version"]
    expect(version["version"] == "1", f"fine-tune publishes version {version['version']} instead of 1")


def predict(case: Case, target: str, *flags: object, right: bool = True) -> list[dict[str, float]]:
    """Predict the other images; returns the probability of each class for each image.

    Args:
        case: of the check.
        target: address of the server.
        flags: further flags of `headstart`.
        right: whether the labels must be right, as with a trained backbone.
    """
    answer = headstart(case, target, *flags, "predict", MODEL, *case.images.files)["results"][0][
        "predictions"
    ]
    labels = [each["label"]["className"] for each in answer]
    if right:
        expect_labels(case, labels)
    return [{one["name"]: one["probability"] for one in each["classes"]} for each in answer]


def expect_labels(case: Case, labels: list[str]) -> None:
    """Check the labels that were predicted for the images."""
    wanted = list(case.images.files.values())
    expect(labels == wanted, f"{labels} predicted for images of {wanted}")


def expect(holds: bool, otherwise: str) -> None:
    """Fail the check unless something holds."""
    if not holds:
        raise CheckFailed(otherwise)


def main_job(
    case: Case,
    *flags: object,
    variables: Mapping[str, str] | None = None,
    backbone: str | None = None,
    also: Callable[[InstalledServer], None] | None = None,
) -> Times:
    """Start a server on an empty data folder, fine-tune, predict, restart it, and predict the same.

    Args:
        case: of the check.
        flags: of the server.
        variables: of its environment.
        backbone: of the fine-tune; by default the server's.
        also: what else to do with the first server.
    """
    data = case.scratch / "data"
    chosen = ("--backbone", backbone) if backbone else ()
    with serving(case.environment, data, *flags, variables=variables) as server:
        fine_tune(case, server.target, *chosen)
        first = predict(case, server.target, right=backbone is None)
        cold = time.perf_counter() - server.began
        if also is not None:
            also(server)
    with serving(case.environment, data, *flags, variables=variables) as server:
        again = predict(case, server.target, right=backbone is None)
        warm = time.perf_counter() - server.began
    expect(again == first, f"the restarted server predicts {again} instead of {first}")
    return Times(cold, warm)
