"""Predicts a caller's examples with some versions, batch by batch, on the train lane."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart_server.embedding.cache import content_digest
from headstart_server.embedding.dataset_features import extract
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.modality import check_modality
from headstart_server.embedding.queue import RowFeatures
from headstart_server.errors import Cancelled, HeadstartError
from headstart_server.evaluation.paired_predictions import BLOCK, head_views, required_cuts
from headstart_server.learning.examples.dataset import DatasetCount, DatasetLimits, Example, ExampleFault
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.models.resident import ResidentVersion
from headstart_server.prediction.head_predictions import overflow_faults

#: Maximum faulty examples that are listed; all of them are counted.
MAX_LISTED_FAULTS = 100


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedVersion:
    """A version that predicts."""

    version: ResidentVersion
    embedder: Embedder


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PredictedBatch:
    """Some examples with the outputs of each version."""

    examples: Sequence[Example]  # the examples, with soft labels normalized to a sum of 1, [n]
    digests: Sequence[str]  # their content digests, [n]
    usable: NDArray[np.bool_]  # whether all versions could predict each, [n]
    outputs: Sequence[Float32]  # outputs of each version, [n, C]; rows of unusable examples are 0


class BatchPredictor:
    """Predicts the examples of one caller with some versions.

    Args:
        window: maximum number of examples in flight to a backbone.

    Attributes:
        faults: the first examples that cannot be used.
    """

    def __init__(self, loaded: Sequence[LoadedVersion], limits: DatasetLimits, *, window: int) -> None:
        self.versions = [each.version for each in loaded]
        self.faults: list[ExampleFault] = []
        self.fault_count = 0
        self._embedders = {one.version.backbone: one.embedder for one in loaded}
        self._count = DatasetCount(limits=limits, task=self.versions[0].head.task)
        self._window = window
        self._received = 0
        self._left = threading.Event()

    def answers(self, examples: Sequence[Example]) -> Iterator[PredictedBatch]:
        """Predict some examples in order, at most `BLOCK` at a time: outputs are larger than inputs."""
        for start in range(0, len(examples), BLOCK):
            yield self._answer(examples[start : start + BLOCK])

    def _answer(self, examples: Sequence[Example]) -> PredictedBatch:
        for index, example in enumerate(examples, self._received):
            for embedder in self._embedders.values():
                check_modality(embedder.info, example.content, f"examples[{index}].input", example.id)
        digests = [content_digest(example.content) for example in examples]
        counted = [self._count.add(*each) for each in zip(examples, digests, strict=True)]
        errors: dict[str, HeadstartError] = {}
        rows = {
            name: self._extract(embedder, counted, digests, errors)
            for name, embedder in self._embedders.items()
        }
        places = [place for place, digest in enumerate(digests) if digest not in errors]
        outputs = []
        for version in self.versions:
            version_outputs = np.zeros((len(counted), version.head.bias.shape[0]), np.float32)
            if places:
                of_backbone = rows[version.backbone]
                views = head_views(
                    version.tail,
                    self._embedders[version.backbone],
                    [of_backbone[digests[place]] for place in places],
                    version.head.views,
                    self.check_connected,
                )
                version_outputs[places] = version.head.outputs(views)
            errors |= {
                digests[place]: fault for place, fault in overflow_faults(version, version_outputs).items()
            }
            outputs.append(version_outputs)
        self._note(counted, digests, errors)
        self._received += len(counted)
        usable = np.array([digest not in errors for digest in digests], np.bool_)
        for version_outputs in outputs:
            version_outputs[~usable] = 0
        return PredictedBatch(examples=counted, digests=digests, usable=usable, outputs=outputs)

    def leave(self) -> None:
        """Stop predicting, because the caller disconnected."""
        self._left.set()

    def _extract(
        self,
        embedder: Embedder,
        examples: Sequence[Example],
        digests: Sequence[str],
        errors: dict[str, HeadstartError],
    ) -> dict[str, RowFeatures]:
        """Return features by content digest, and add decoding errors to `errors`."""
        rows = {}
        for place, result in extract(
            embedder,
            digests,
            lambda place: examples[place].content,
            window=self._window,
            cuts=self._cuts(embedder.info.name),
            checkpoint=self.check_connected,
        ):
            if isinstance(result, RowFeatures):
                rows[digests[place]] = result
            else:
                errors.setdefault(digests[place], result)
        return rows

    def _cuts(self, backbone: str) -> frozenset[str]:
        of_backbone = [version.tail for version in self.versions if version.backbone == backbone]
        return frozenset().union(*map(required_cuts, of_backbone))

    def _note(
        self, examples: Sequence[Example], digests: Sequence[str], errors: dict[str, HeadstartError]
    ) -> None:
        for index, (example, digest) in enumerate(zip(examples, digests, strict=True), self._received):
            if digest not in errors:
                continue
            self.fault_count += 1
            if len(self.faults) < MAX_LISTED_FAULTS:
                error = errors[digest]
                self.faults.append(
                    ExampleFault(index=index, id=example.id, reason=error.reason, message=error.message)
                )

    def check_connected(self) -> None:
        """Raise Cancelled if the caller disconnected."""
        if self._left.is_set():
            raise Cancelled("The caller disconnected before all examples were predicted.")
