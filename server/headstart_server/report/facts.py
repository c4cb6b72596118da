"""The content of a report."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from headstart_server.learning.analysis.dataset_findings import DatasetFindings
from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.evaluation import Evaluation
from headstart_server.learning.metrics.metrics import Metrics
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.models.version import Manifest, Version

#: Sample of an example's content: the bytes of a JPEG file, or a text.
Sample = bytes | str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportFacts:
    """The content of a report about a version."""

    version: Version
    # evaluation of the version; None if only the metrics of the manifest are stored
    evaluation: Evaluation | None = None
    findings: DatasetFindings | None = None  # findings in its examples; None if none are stored
    # small JPEG files, or beginnings of texts, by the index of the example
    samples: Mapping[int, Sample] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        """The manifest."""
        return self.version.manifest

    @property
    def promotion(self) -> Promotion | None:
        """The conditional promotion to the version; None without a condition."""
        return self.version.promotion

    @property
    def task(self) -> Task:
        """The kind of task."""
        return self.manifest.task

    @property
    def thresholds(self) -> dict[str, float]:
        """Several labels: the threshold of each class; empty otherwise."""
        return dict(zip(self.manifest.class_names, self.manifest.thresholds, strict=False))

    @property
    def metrics(self) -> Metrics:
        """The summary metrics."""
        return self.evaluation.metrics if self.evaluation else self.manifest.metrics
