"""Examples as cards with a sample of their content."""

from base64 import b64encode
from collections.abc import Iterable, Mapping

from headstart_server.learning.analysis.dataset_findings import DatasetFindings, ExampleReference
from headstart_server.learning.metrics.evaluation import Evaluation
from headstart_server.report.facts import Sample
from headstart_server.report.formatting import shorten
from headstart_server.report.markup import Child, Markup, named, tag

#: Maximum numbers of shown examples of each kind; together at most a hundred images or texts.
MAX_LABEL_ISSUES, MAX_WORST, MAX_OUTLIERS, MAX_GROUPS, MAX_GROUPED = 24, 24, 16, 12, 3
_MAX_NAME = 60


def sample_indexes(evaluation: Evaluation | None, findings: DatasetFindings | None) -> list[int]:
    """Return the indexes of the examples on the page, each once, the most important first."""
    indexes: list[int] = []
    if findings is not None:
        indexes += [each.example.index for each in findings.label_issues[:MAX_LABEL_ISSUES]]
    if evaluation is not None:
        indexes += [each.index for each in evaluation.worst[:MAX_WORST]]
    if findings is not None:
        for group in findings.duplicates[:MAX_GROUPS]:
            indexes += [each.index for each in group.examples[:MAX_GROUPED]]
        indexes += [each.example.index for each in findings.outliers[:MAX_OUTLIERS]]
    return list(dict.fromkeys(indexes))


def card(samples: Mapping[int, Sample], example: ExampleReference, *lines: Child) -> Markup:
    """Return the card of an example with some lines."""
    name = example.id or f"example {example.index}"
    return tag(
        "figure",
        _sample(samples.get(example.index), name),
        tag(
            "figcaption",
            named(shorten(name, _MAX_NAME), class_="id", title=name),
            [tag("span", line) for line in lines],
        ),
        class_="card",
    )


def cards(content: Iterable[Markup]) -> Markup:
    """Return cards side by side."""
    return tag("div", content, class_="cards")


def _sample(sample: Sample | None, name: str) -> Markup | None:
    if sample is None:
        return None
    if isinstance(sample, str):
        return named(sample, class_="sample")
    return _image(sample, name)


def _image(jpeg: bytes, name: str) -> Markup:
    return tag(
        "div",
        tag(
            "img",
            src=f"data:image/jpeg;base64,{b64encode(jpeg).decode()}",
            alt=f"Example {name}",
            loading="lazy",
        ),
        class_="frame",
    )
