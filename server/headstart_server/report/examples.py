"""Example sections: mistakes, label issues, duplicates, outliers, and the value of more examples."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence

from headstart_server.learning.analysis.dataset_findings import (
    DatasetFindings,
    DuplicateGroup,
    ExampleReference,
    LabelIssue,
    LearningPoint,
)
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.evaluation import Evaluation
from headstart_server.learning.metrics.outcomes import ExampleOutcome
from headstart_server.report.charts import learning_chart
from headstart_server.report.facts import ReportFacts, Sample
from headstart_server.report.formatting import (
    figure,
    is_right,
    issue_labels,
    label_text,
    listed,
    percent,
    plural,
    score,
    shorten,
)
from headstart_server.report.markup import Child, Markup, Section, named, note, section, tag

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


def mistakes_section(facts: ReportFacts) -> Section | None:
    """Return the examples of the largest loss."""
    if facts.evaluation is None or not facts.evaluation.worst:
        return None
    worst = facts.evaluation.worst
    wrong = sum(not is_right(each) for each in worst if each.number is None)
    return section(
        "Worst predictions",
        "The worst predictions",
        cards(_outcome(facts.samples, each) for each in worst[:MAX_WORST]),
        _more(wrong - MAX_WORST),
    )


def label_issues_section(facts: ReportFacts) -> Section | None:
    """Return examples whose label is probably wrong."""
    findings = facts.findings
    if findings is None or not findings.label_issues:
        return None
    shown = findings.label_issues[:MAX_LABEL_ISSUES]
    return section(
        "Label issues",
        "Labels to look at",
        note(f"{_WHY_SUSPECT[facts.task]} They were trained on as they are."),
        cards(_issue(facts.samples, each, facts.task) for each in shown),
        _more(findings.label_issue_count - len(shown)),
    )


def more_section(facts: ReportFacts) -> Section | None:
    """Return the expected gain of more examples."""
    points: Sequence[LearningPoint] = facts.findings.learning_curve if facts.findings else ()
    if len(points) < 2:
        return None
    guesses = [point for point in points if point.extrapolated]
    expected = [
        tag(
            "p",
            f"With {plural(each.example_count, 'example')} of the same kind about "
            f"{score(each.score, facts.task)} can be expected: "
            f"{_gain(each.score - _last(points).score, facts.task)}.",
        )
        for each in guesses
    ]
    return section(
        "More data",
        "What more examples would bring",
        tag("figure", tag("div", learning_chart(points, facts.task), class_="scroll")),
        expected,
    )


def data_section(facts: ReportFacts) -> Section | None:
    """Return duplicates and outliers."""
    findings = facts.findings
    if findings is None or not (findings.duplicates or findings.outliers):
        return None
    return section(
        "Duplicates",
        "Duplicates and outliers",
        _duplicates(facts.samples, findings),
        _outliers(facts.samples, findings),
    )


def _outcome(samples: Mapping[int, Sample], each: ExampleOutcome) -> Markup:
    number = each.number
    example = ExampleReference(index=each.index, id=each.id, label=Target.of_labels(each.labels))
    if number is not None and each.value is not None:
        return card(
            samples, example, f"is {number:.4g}", f"predicted {each.value:.4g}, off by {figure(each.loss)}"
        )
    return card(
        samples,
        example,
        [_TRUE, named(listed(each.labels))],
        [_PREDICTED, named(listed(each.predicted)), " (right)" if is_right(each) else ""],
        f"{percent(each.probability)} for the truth",
    )


def _issue(samples: Mapping[int, Sample], each: LabelIssue, task: Task) -> Markup:
    label, like = issue_labels(each, task)
    given, suggested = (
        ("", "")
        if task is Task.REGRESSION
        else (f" ({percent(each.given_probability)})", f" ({percent(each.suggested_probability)})")
    )
    return card(
        samples,
        each.example,
        ["labeled ", named(label), given],
        ["looks like ", tag("strong", named(like)), suggested],
    )


def _duplicates(samples: Mapping[int, Sample], findings: DatasetFindings) -> Child:
    if not findings.duplicates:
        return None
    shown = findings.duplicates[:MAX_GROUPS]
    return [
        tag("h3", f"{plural(findings.duplicate_count, 'example')} with a duplicate"),
        tag("div", [_group(samples, group) for group in shown], class_="groups"),
        _more(len(findings.duplicates) - len(shown), "group"),
    ]


def _group(samples: Mapping[int, Sample], group: DuplicateGroup) -> Markup:
    marks = [
        tag("span", text, class_="mark")
        for text, present in (
            ("different labels", group.contradicting),
            ("trained on and held out", group.across_held_out),
        )
        if present
    ]
    more = group.count - min(len(group.examples), MAX_GROUPED)
    return tag(
        "div",
        tag("p", "equal" if group.exact else "nearly equal", marks, class_="kind"),
        cards(
            card(samples, each, named(label_text(each.label.text))) for each in group.examples[:MAX_GROUPED]
        ),
        _more(more, "example"),
        class_="group",
    )


def _outliers(samples: Mapping[int, Sample], findings: DatasetFindings) -> Child:
    if not findings.outliers:
        return None
    shown = findings.outliers[:MAX_OUTLIERS]
    return [
        tag("h3", f"{plural(findings.outlier_count, 'example')} far from all others"),
        cards(
            card(
                samples,
                each.example,
                named(label_text(each.example.label.text)),
                f"{each.distance_ratio:.1f} times the median distance",
            )
            for each in shown
        ),
        _more(findings.outlier_count - len(shown)),
    ]


def _more(count: int, noun: str = "example") -> Markup | None:
    return note(f"and {plural(count, noun)} more") if count > 0 else None


def _last(points: Sequence[LearningPoint]) -> LearningPoint:
    measured = [point for point in points if not point.extrapolated]
    return (measured or list(points))[-1]


def _gain(gain: float, task: Task) -> str:
    if task is Task.REGRESSION:
        return f"{gain:+.3f}" if abs(gain) >= 0.0005 else "no gain"
    return f"{100 * gain:+.1f} points" if abs(gain) >= 0.0005 else "no gain"


_SURER = "Heads that were fitted without these examples find another label more probable than theirs."
_WHY_SUSPECT = {
    Task.SINGLE_LABEL: _SURER,
    Task.MULTI_LABEL: _SURER,
    Task.REGRESSION: "Heads that were fitted without these examples predict numbers far from theirs.",
}
_TRUE = tag("span", "is ", class_="what")
_PREDICTED = tag("span", "predicted ", class_="what")
