"""What a fine-tune would give, without a job: features, a head and what is found in its examples."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headstart_server.datasets.dataset_store import Dataset
from headstart_server.embedding.embedder import Embedder
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.analysis.dataset_findings import DatasetFindings
from headstart_server.learning.examples.dataset import ExampleFault
from headstart_server.learning.heads.fitting import fit
from headstart_server.learning.heads.recipe import quick_recipe, required_views
from headstart_server.learning.metrics.evaluation import Evaluation
from headstart_server.training.evaluation_result import evaluate_fit
from headstart_server.training.extraction import FeatureExtraction


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewResult:
    """What a fine-tune would give.

    Attributes:
        evaluation: how good its version would be.
        findings: what was found in its examples.
    """

    evaluation: Evaluation
    findings: DatasetFindings


class DatasetPreview:
    """Looks at the stored examples of a fine-tune as its job would; their features stay in the cache for it.

    Args:
        spec: what to do.
        dataset: the examples.
        embedder: gives features, on the train lane.
        window: most examples under way at once.
        checkpoint: called between pieces of work; may raise to stop.
        clock: seconds that only go up.
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
        self._recipe = quick_recipe(spec.recipe)
        self._extraction = FeatureExtraction(dataset, required_views(self._recipe, embedder.info.views))
        self._embedder = embedder
        self._window = window
        self._checkpoint = checkpoint
        self._clock = clock
        self._began = clock()

    @property
    def faults(self) -> Mapping[int, ExampleFault]:
        """The examples that cannot be used, by index; once features are there the undecodable ones too."""
        return self._extraction.faults

    @property
    def usable(self) -> list[int]:
        """The indexes of the examples that can be used."""
        return self._extraction.usable

    @property
    def content_count(self) -> int:
        """Number of different contents that a job has to look at."""
        return self._extraction.content_count

    def extract(self) -> None:
        """Have every usable example decoded and passed through the backbone."""
        self._extraction.run(self._embedder, window=self._window, checkpoint=self._checkpoint)

    def look(self) -> PreviewResult:
        """Fit a head and look the examples over, once features are there; the examples must be trainable."""
        table = self._extraction.table()
        held_out_mask = table.held_out_mask(self._spec, self._checkpoint)
        trained = table.part(~held_out_mask)
        fitted = fit(
            self._recipe,
            trained.views,
            trained.targets,
            trained.digests,
            seed=self._spec.seed,
            modality=table.modality,
            checkpoint=self._checkpoint,
        )
        found = evaluate_fit(fitted, table, held_out_mask)
        assessment = table.analysis(fitted, held_out_mask, self._checkpoint)
        findings = assessment.findings(
            seed=self._spec.seed, estimated_seconds=self._clock() - self._began, fault_count=len(self.faults)
        )
        return PreviewResult(evaluation=found.evaluation, findings=findings)
