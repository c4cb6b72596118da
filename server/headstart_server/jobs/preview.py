"""What a fine-tune would give, without a job: features, a head and what is found in its examples."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.backbone import Content
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import RowFeatures
from headstart_server.jobs.answers import finite, stacked
from headstart_server.jobs.assessment import Assessment
from headstart_server.jobs.datasets import Dataset
from headstart_server.jobs.measured import measured
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.dataset import ExampleFault
from headstart_server.learning.dataset_findings import DatasetFindings
from headstart_server.learning.evaluation import Evaluation
from headstart_server.learning.fitting import fit
from headstart_server.learning.recipe import Auto, Recipe, Ridge, views_of
from headstart_server.learning.split import held_out, strata
from headstart_server.learning.targets import Targets


@dataclass(frozen=True, kw_only=True, slots=True)
class Previewed:
    """What a fine-tune would give.

    Attributes:
        evaluation: how good its version would be.
        findings: what was found in its examples.
    """

    evaluation: Evaluation
    findings: DatasetFindings


class Preview:
    """Looks at the stored examples of a fine-tune as its job would; their features stay in the cache for it.

    Args:
        spec: what to do.
        dataset: the examples.
        embedder: gives features, on the train lane.
        window: most examples under way at once.
        checkpoint: called between pieces of work; may raise to stop.
        clock: seconds that only go up.

    Attributes:
        faults: the examples that cannot be used, by index; those that cannot be decoded once features are
            there.
    """

    def __init__(
        self,
        spec: FineTuneSpec,
        dataset: Dataset,
        embedder: Embedder,
        *,
        window: int,
        checkpoint: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec = spec
        self._recipe = _quick(spec.recipe)
        self._dataset = dataset
        self._embedder = embedder
        self._window = window
        self._checkpoint = checkpoint
        self._clock = clock
        self._began = clock()
        self._rows: dict[str, RowFeatures] = {}
        self.faults: dict[int, ExampleFault] = {fault.index: fault for fault in dataset.contradictions()}

    @property
    def usable(self) -> list[int]:
        """The indexes of the examples that can be used."""
        return [index for index in range(len(self._dataset)) if index not in self.faults]

    def extract(self) -> None:
        """Have every usable example decoded and passed through the backbone."""
        places: dict[str, list[int]] = {}
        for index in self.usable:
            places.setdefault(self._dataset.examples[index].digest, []).append(index)
        first = [indexes[0] for indexes in places.values()]

        def read(place: int) -> Content:
            return self._dataset.read(first[place])

        for place, came in self._embedder.extract(
            list(places), read, window=self._window, checkpoint=self._checkpoint
        ):
            digest = self._dataset.examples[first[place]].digest
            outcome = finite(came, self._views) if isinstance(came, RowFeatures) else came
            if isinstance(outcome, RowFeatures):
                self._rows[digest] = outcome
            else:
                for index in places[digest]:
                    self.faults[index] = self._dataset.fault(index, outcome)

    def look(self) -> Previewed:
        """Fit a head and look the examples over, once features are there; the examples must be trainable."""
        usable = self.usable
        examples = [self._dataset.examples[index] for index in usable]
        rows = [self._rows[example.digest] for example in examples]
        views = stacked(rows, self._views)
        targets = Targets.of(
            [example.target for example in examples], [example.weight for example in examples]
        )
        digests = [example.digest for example in examples]
        kept_out = self._kept_out(targets, digests, [example.held_out for example in examples])
        fitted = fit(
            self._recipe,
            {name: matrix[~kept_out] for name, matrix in views.items()},
            targets.take(~kept_out),
            [digest for digest, out in zip(digests, kept_out.tolist(), strict=True) if not out],
            seed=self._spec.seed,
            checkpoint=self._checkpoint,
        )
        found = measured(fitted, views, targets, [example.id for example in examples], kept_out)
        assessment = Assessment(
            examples=examples,
            indexes=np.array(usable, np.int64),
            views=views,
            targets=targets,
            held_out=kept_out,
            fitted=fitted,
            checkpoint=self._checkpoint,
        )
        findings = assessment.findings(
            seed=self._spec.seed, estimated_seconds=self._clock() - self._began, fault_count=len(self.faults)
        )
        return Previewed(evaluation=found.evaluation, findings=findings)

    @property
    def _views(self) -> tuple[str, ...]:
        return views_of(self._recipe, self._embedder.info.views)

    def _kept_out(
        self, targets: Targets, digests: Sequence[str], marked: Sequence[bool]
    ) -> NDArray[np.bool_]:
        share = self._spec.held_out_share
        if share > 0:
            return held_out(strata(targets), digests, share=share, seed=self._spec.seed)
        return np.array(marked, np.bool_)


def _quick(recipe: Recipe) -> Recipe:
    """A recipe that takes seconds, for one that may take minutes: what is found hardly depends on it."""
    return recipe if isinstance(recipe, Auto | Ridge) else Auto()
