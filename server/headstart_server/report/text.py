"""The report as plain text of 80 columns, for a terminal."""

import re
from collections.abc import Iterable, Sequence
from textwrap import wrap

from headstart_server.learning.analysis.dataset_findings import LabelIssue
from headstart_server.learning.examples.example_checks import CONTROL_CHARACTERS
from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.outcomes import ExampleOutcome
from headstart_server.report.facts import ReportFacts
from headstart_server.report.formatting import (
    baseline,
    decision,
    energy_line,
    interval,
    is_right,
    issue_labels,
    key_figures,
    listed,
    measured_on,
    moment,
    percent,
    plural,
    score,
    shorten,
    verdict,
)
from headstart_server.report.lineage import (
    candidate_columns,
    candidate_row,
    recipe_lines,
    selection_line,
    skipped_candidates,
)

MEDIA_TYPE = "text/plain; charset=utf-8"
WIDTH = 80
#: Maximum lines of each list; the page and the JSON document have more.
_MOST = 10
#: Maximum number of classes that are listed; of more, the worst.
_MOST_CLASSES = 30
#: Characters that could move a terminal's cursor, change its colors or reorder its text.
_UNPRINTABLE = re.compile(f"[{CONTROL_CHARACTERS}\u200e\u200f\ud800-\udfff]")


def text(facts: ReportFacts) -> str:
    """Return the text of a version; the same facts give the same text."""
    parts = [
        _head(facts),
        _promotion(facts),
        _recommendations(facts),
        _classes(facts),
        _pairs(facts),
        _label_issues(facts),
        _worst(facts),
        _duplicates(facts),
        _curve(facts),
        _choice(facts),
        _lineage(facts),
    ]
    return "\n\n".join("\n".join(part) for part in map(list, parts) if part) + "\n"


def _head(facts: ReportFacts) -> Iterable[str]:
    version = facts.version
    names = [*version.aliases, *([facts.manifest.display_name] if facts.manifest.display_name else [])]
    yield from _wrapped(
        f"{version.model}, version {version.number}{f' ({listed(tuple(names))})' if names else ''}"
    )
    summary = [verdict(facts) + ".", interval(facts.metrics) and f"{interval(facts.metrics)}."]
    yield from _wrapped(" ".join(filter(None, [*summary, measured_on(facts.metrics), baseline(facts)])))
    figures = key_figures(facts)[1:]  # the first is the verdict
    if figures:
        yield from _wrapped(" | ".join(f"{name[0].lower()}{name[1:]} {shown}" for name, shown, _ in figures))


def _promotion(facts: ReportFacts) -> Iterable[str]:
    if facts.promotion is None:
        return []
    return _wrapped(" ".join([f"{decision(facts.promotion)}.", *facts.promotion.reasons]))


def _recommendations(facts: ReportFacts) -> Iterable[str]:
    if facts.findings is None or not facts.findings.recommendations:
        return []
    return ["What to do", *(line for each in facts.findings.recommendations for line in _item(each.message))]


def _classes(facts: ReportFacts) -> Iterable[str]:
    classes = facts.evaluation.classes if facts.evaluation else ()
    if not classes:
        return
    thresholds = facts.thresholds
    shown = list(classes)
    if len(shown) > _MOST_CLASSES:
        shown = sorted(shown, key=lambda each: 2.0 if each.f1 is None else each.f1)[:_MOST_CLASSES]
    rows = [
        [each.name, f"{each.support:,}", *map(percent, (each.precision, each.recall, each.f1))]
        + ([percent(thresholds.get(each.name))] if thresholds else [])
        for each in shown
    ]
    columns = ["class", "examples", "precision", "recall", "F1", *(["threshold"] if thresholds else [])]
    yield from _table(columns, rows)
    if len(classes) > len(shown):
        yield f"the {len(shown)} classes with the lowest F1 of {len(classes):,}"


def _pairs(facts: ReportFacts) -> Iterable[str]:
    pairs = facts.evaluation.confused if facts.evaluation else ()
    lines = [f"{pair.actual} predicted as {pair.predicted}: {pair.count:,}" for pair in pairs]
    return _list("Most often confused", lines, len(lines))


def _label_issues(facts: ReportFacts) -> Iterable[str]:
    findings = facts.findings
    if findings is None:
        return []
    lines = [_issue(each, facts.task) for each in findings.label_issues]
    return _list("Labels to look at", lines, findings.label_issue_count)


def _issue(issue: LabelIssue, task: Task) -> str:
    label, like = issue_labels(issue, task)
    chance = "" if task is Task.REGRESSION else f" ({percent(issue.suggested_probability)})"
    return f"{issue.example.id or issue.example.index}: labeled {label}, looks like {like}{chance}"


def _worst(facts: ReportFacts) -> Iterable[str]:
    worst = facts.evaluation.worst if facts.evaluation else ()
    wrong = sum(not is_right(each) for each in worst if each.number is None)
    # Correct predictions only fill the list: nearly wrong ones are informative too.
    return _list("The worst predictions", [_outcome(each) for each in worst[: max(wrong, _MOST)]], wrong)


def _outcome(each: ExampleOutcome) -> str:
    name = each.id or each.index
    if each.number is not None and each.value is not None:
        return f"{name}: is {each.number:.4g}, predicted {each.value:.4g}"
    predicted = "predicted so" if is_right(each) else f"predicted {listed(each.predicted)}"
    return f"{name}: is {listed(each.labels)}, {predicted} ({percent(each.probability)} for the truth)"


def _duplicates(facts: ReportFacts) -> Iterable[str]:
    findings = facts.findings
    if findings is None:
        return []
    lines = [
        f"{' = '.join(each.id or str(each.index) for each in group.examples[:3])}"
        + (f" and {group.count - 3} more" if group.count > 3 else "")
        + (", with different labels" if group.contradicting else "")
        + (", trained on and held out" if group.across_held_out else "")
        for group in findings.duplicates
    ]
    return _list(f"{plural(findings.duplicate_count, 'example')} with a duplicate", lines, len(lines))


def _curve(facts: ReportFacts) -> Iterable[str]:
    points = facts.findings.learning_curve if facts.findings else ()
    if len(points) < 2:
        return []
    scores = [
        f"{'perhaps ' if point.extrapolated else ''}{score(point.score, facts.task)} with "
        f"{point.example_count:,}"
        for point in points
    ]
    what = "R squared by" if facts.task is Task.REGRESSION else "By"
    return _wrapped(f"{what} the number of examples: {', '.join(scores)}")


def _choice(facts: ReportFacts) -> Iterable[str]:
    choice = facts.manifest.backbone_selection
    if choice is None:
        return
    yield from _wrapped(selection_line(choice))
    yield from _table(candidate_columns(choice), [candidate_row(each) for each in choice.candidates])
    for line in skipped_candidates(choice):
        yield from _item(line)


def _lineage(facts: ReportFacts) -> Iterable[str]:
    manifest = facts.manifest
    runtime = f" ({manifest.runtime})" if manifest.runtime else ""
    yield from _wrapped(
        f"Made {moment(facts.version.created)} by {manifest.software} on {manifest.backbone}{runtime} from "
        f"{plural(manifest.example_count, 'example')}, seed {manifest.seed}."
    )
    yield from _wrapped(f"Recipe: {', '.join(recipe_lines(facts))}.")
    if manifest.note:
        yield from _wrapped(manifest.note)
    energy = energy_line(manifest.energy)
    if energy:
        yield from _wrapped(f"Energy: {energy}")
    digests = f"Dataset {manifest.dataset_digest[:16]}, backbone {manifest.backbone_digest[:16]}"
    yield digests
    yield f"Job {manifest.job_id}"  # in full, so that it can be used in a request


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    figures = [max(len(row[place]) for row in [columns, *rows]) for place in range(1, len(columns))]
    room = WIDTH - sum(2 + width for width in figures)
    name = min(max(len(_line(row[0])) for row in [columns, *rows]), room)
    for row in [columns, *rows]:
        cells = [shorten(_line(row[0]), name).ljust(name)]
        yield "  ".join(cells + [cell.rjust(width) for cell, width in zip(row[1:], figures, strict=True)])


def _list(title: str, lines: Sequence[str], count: int) -> Iterable[str]:
    if not lines:
        return
    yield title
    yield from (f"  {shorten(_line(line), WIDTH - 2)}" for line in lines[:_MOST])
    rest = max(count, len(lines)) - min(len(lines), _MOST)
    if rest > 0:
        yield f"  and {rest:,} more"


def _item(message: str) -> list[str]:
    return wrap(_line(message), WIDTH, initial_indent="  - ", subsequent_indent="    ")


def _wrapped(sentence: str) -> list[str]:
    return wrap(_line(sentence), WIDTH)


def _line(name: str) -> str:
    """Return a text in one line, without control characters."""
    return _UNPRINTABLE.sub("\ufffd", name)
