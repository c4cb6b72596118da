"""Versions that answer examples as they come, batch by batch, on the train lane."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart_server.embedding.cache import content_digest
from headstart_server.embedding.dataset_features import extract
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.modality import check_modality
from headstart_server.embedding.queue import RowFeatures
from headstart_server.errors import Cancelled, HeadstartError
from headstart_server.evaluation.paired_predictions import head_views, required_cuts
from headstart_server.learning.examples.dataset import DatasetCount, DatasetLimits, Example, ExampleFault
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.models.resident import ResidentVersion

#: Faulty examples that are listed; further ones are counted.
MAX_LISTED_FAULTS = 100


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedVersion:
    """A version that predicts."""

    version: ResidentVersion
    embedder: Embedder


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PredictedBatch:
    """Some examples with what each version answered."""

    examples: Sequence[Example]  # as they are counted: shares of soft labels sum up to 1, [n]
    digests: Sequence[str]  # content digest of each, [n]
    usable: NDArray[np.bool_]  # whether each could be answered by all versions, [n]
    outputs: Sequence[Float32]  # of each version, [n, C]; rows of 0 where an example is not usable


class BatchPredictor:
    """Has the examples of one caller answered.

    Args:
        window: most examples under way to a backbone at once.

    Attributes:
        faults: the first examples that cannot be used.
    """

    def __init__(self, respondents: Sequence[LoadedVersion], limits: DatasetLimits, *, window: int) -> None:
        self.versions = [respondent.version for respondent in respondents]
        self.faults: list[ExampleFault] = []
        self.fault_count = 0
        self._embedders = {one.version.backbone: one.embedder for one in respondents}
        self._count = DatasetCount(limits=limits, task=self.versions[0].head.task)
        self._window = window
        self._came = 0
        self._left = threading.Event()

    def answer(self, examples: Sequence[Example]) -> PredictedBatch:
        """Answer some examples."""
        for index, example in enumerate(examples, self._came):
            for embedder in self._embedders.values():
                check_modality(embedder.info, example.content, f"examples[{index}].input", example.id)
        digests = [content_digest(example.content) for example in examples]
        counted = [self._count.add(*each) for each in zip(examples, digests, strict=True)]
        errors: dict[str, HeadstartError] = {}
        rows = {
            name: self._extract(embedder, counted, digests, errors)
            for name, embedder in self._embedders.items()
        }
        self._note(counted, digests, errors)
        self._came += len(counted)
        usable = np.array([digest not in errors for digest in digests], np.bool_)
        places = np.flatnonzero(usable).tolist()
        outputs = []
        for version in self.versions:
            answered = np.zeros((len(counted), version.head.bias.shape[0]), np.float32)
            if places:
                of_backbone = rows[version.backbone]
                views = head_views(
                    version.tail,
                    self._embedders[version.backbone],
                    [of_backbone[digests[place]] for place in places],
                    version.head.views,
                    self.check_connected,
                )
                answered[usable] = version.head.outputs(views)
            outputs.append(answered)
        return PredictedBatch(examples=counted, digests=digests, usable=usable, outputs=outputs)

    def leave(self) -> None:
        """Stop what is under way: the caller left."""
        self._left.set()

    def _extract(
        self,
        embedder: Embedder,
        examples: Sequence[Example],
        digests: Sequence[str],
        errors: dict[str, HeadstartError],
    ) -> dict[str, RowFeatures]:
        """Features by content digest; what cannot be decoded goes to the errors."""
        rows = {}
        for place, came in extract(
            embedder,
            digests,
            lambda place: examples[place].content,
            window=self._window,
            cuts=self._cuts(embedder.info.name),
            checkpoint=self.check_connected,
        ):
            if isinstance(came, RowFeatures):
                rows[digests[place]] = came
            else:
                errors.setdefault(digests[place], came)
        return rows

    def _cuts(self, backbone: str) -> frozenset[str]:
        of_backbone = [version.tail for version in self.versions if version.backbone == backbone]
        return frozenset().union(*map(required_cuts, of_backbone))

    def _note(
        self, examples: Sequence[Example], digests: Sequence[str], errors: dict[str, HeadstartError]
    ) -> None:
        for index, (example, digest) in enumerate(zip(examples, digests, strict=True), self._came):
            if digest not in errors:
                continue
            self.fault_count += 1
            if len(self.faults) < MAX_LISTED_FAULTS:
                error = errors[digest]
                self.faults.append(
                    ExampleFault(index=index, id=example.id, reason=error.reason, message=error.message)
                )

    def check_connected(self) -> None:
        """Check that the caller has not left."""
        if self._left.is_set():
            raise Cancelled("The caller left before its examples had all been answered.")
