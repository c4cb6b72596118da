"""Display of findings in examples."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from headstart.cli.output.evaluation_tables import measured
from headstart.cli.output.layout import excludable_fraction, facts_grid, percent
from headstart.cli.output.tables import class_list, fault_lines
from headstart.label_values import label_text
from headstart.results import (
    DatasetFindings,
    DuplicateGroup,
    Evaluation,
    ExampleReference,
    LabelIssue,
    LearningPoint,
    Validation,
)

_MAX_LISTED = 10
_MAX_SUMMED = 3  # of each kind, after a fine-tune
_ADVICE = (
    "Correct them, or exclude them with --max-excluded-fraction {:g}, which also shows the other findings."
)


def validation_view(validation: Validation) -> RenderableType:
    """Return the result of a validation: the verdict, the remedies, then the examples."""
    verdict = "These examples can be used." if validation.valid else f"Not usable: {validation.message}"
    classes = [f"{name} {count}" for name, count in validation.class_counts.items()]
    findings, evaluation = validation.findings, validation.evaluation
    facts = [
        ("examples", validation.example_count),
        ("classes", class_list(classes) if classes else None),
        ("expected", measured(evaluation.metrics) if evaluation else None),
        ("more data", _curve(findings.learning_curve, evaluation) if findings else None),
        ("takes about", _seconds(findings)),
        ("unusable", validation.fault_count or None),
    ]
    recommendations = (
        [Text(f"• {recommendation.message}") for recommendation in findings.recommendations]
        if findings
        else []
    )
    printed = {recommendation.message for recommendation in findings.recommendations} if findings else set()
    warnings = [Text(f"warning: {warning}") for warning in validation.warnings if warning not in printed]
    faults = fault_lines(validation.faults, validation.fault_count)
    advice: list[Text] = []
    if validation.fault_count and not validation.valid:
        fraction = excludable_fraction(validation.fault_count, validation.example_count)
        advice.append(Text(_ADVICE.format(fraction)))
    lists = _lists(findings) if findings else ()
    return Group(Text(verdict), facts_grid(facts), *recommendations, *warnings, *faults, *advice, *lists)


def findings_lines(findings: DatasetFindings) -> list[str]:
    """Return a summary of the findings in the examples of a version."""
    lines = [f"• {each.message}" for each in findings.recommendations[: 2 * _MAX_SUMMED]]
    issues = findings.label_issues[:_MAX_SUMMED]
    lines += [f"  {_issue(each)}" for each in issues]
    if (more := findings.label_issue_count - len(issues)) > 0 and issues:
        lines.append(f"  and {more} more")
    return lines


def _seconds(findings: DatasetFindings | None) -> str | None:
    if findings is None or findings.estimated_duration is None:
        return None
    return f"{findings.estimated_duration.total_seconds():.2g} s"


def _curve(points: tuple[LearningPoint, ...], evaluation: Evaluation | None) -> str | None:
    if not points:
        return None
    # The curve of a regression has R squared, which is not a fraction.
    is_number = evaluation is not None and evaluation.metrics.r_squared is not None
    metric, form = ("R squared ", ".3f") if is_number else ("", ".1%")
    return metric + ", ".join(
        f"{'perhaps ' if point.extrapolated else ''}{point.score:{form}} with {point.example_count}"
        for point in points[-3:]
    )


def _lists(findings: DatasetFindings) -> Iterable[Text]:
    yield from _list(
        "Labels to look at:",
        [_issue(each) for each in findings.label_issues],
        findings.label_issue_count,
    )
    yield from _list(
        "Duplicates:", [_group(group) for group in findings.duplicates], len(findings.duplicates)
    )
    yield from _list(
        "Far from all others:",
        [f"{_named(each.example)}, {each.distance_ratio:.1f} times as far" for each in findings.outliers],
        findings.outlier_count,
    )


def _list(title: str, lines: list[str], count: int) -> Iterable[Text]:
    if not lines:
        return
    yield Text(title)
    yield from (Text(f"  {line}") for line in lines[:_MAX_LISTED])
    remaining = max(count, len(lines)) - _MAX_LISTED
    if remaining > 0:
        yield Text(f"  and {remaining} more; --json lists them")


def _named(example: ExampleReference) -> str:
    return (
        f"{example.name} ({label_text(example.label)})" if example.label not in ("", None) else example.name
    )


def _issue(issue: LabelIssue) -> str:
    like = f"{label_text(issue.suggested_label)} ({percent(issue.suggested_probability)})"
    return f"{_named(issue.example)} looks like {like}"


def _group(group: DuplicateGroup) -> str:
    marks = [
        mark
        for mark, present in (
            ("with different labels", group.contradicting),
            ("on both sides of the held-out split", group.across_held_out),
        )
        if present
    ]
    names = ", ".join(_named(each) for each in group.examples[:4])
    more = f" and {group.count - 4} more" if group.count > 4 else ""
    return f"{names}{more}: {', '.join(['equal' if group.exact else 'nearly equal', *marks])}"
