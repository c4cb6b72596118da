"""Display of comparisons: of two versions, and of the backbones of a selection."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from headstart.cli.output.layout import add_row, duration, facts_grid, figure, new_table, percent, plural
from headstart.label_values import label_text
from headstart.results import (
    BackboneCandidate,
    BackboneSelection,
    ComparedClass,
    ComparedMetrics,
    Comparison,
    Promotion,
)
from headstart.version_ref import VersionRef


def choice_line(choice: BackboneSelection) -> str:
    """Return the selection in one sentence."""
    return f"{choice.backbone}, chosen from {plural(len(choice.candidates), 'backbone')}"


def choice_view(choice: BackboneSelection) -> RenderableType:
    """Return a table of the candidates, with the selected one marked and reasons for untried ones."""
    numbers = any(each.mean_absolute_error is not None for each in choice.candidates)
    quality = "error" if numbers else "accuracy"
    columns = ["backbone", quality, "behind", "ms/input", "MB", "took"]
    table = new_table("", *columns, whole=["backbone"], numbers=columns[1:])
    for each in choice.candidates:
        add_row(
            table,
            "→" if each.backbone == choice.backbone else "",
            each.backbone,
            _quality(each),
            _behind(each),
            f"{each.latency_duration.total_seconds() * 1e3:.1f}" if each.latency_duration else "",
            f"{each.size_bytes / 1e6:.0f}",
            duration(each.spent_duration) if each.spent_duration else "",
        )
    untried = [Text(f"  {each.backbone}: {each.message}") for each in choice.candidates if each.message]
    return Group(Text(f"  {choice_line(choice)}. {choice.reason}"), table, *untried)


def _quality(each: BackboneCandidate) -> str:
    if each.mean_absolute_error is not None:
        return f"{figure(each.mean_absolute_error)} ± {figure(each.standard_error)}"
    return "" if each.accuracy is None else f"{percent(each.accuracy)} ± {percent(each.standard_error)}"


def _behind(each: BackboneCandidate) -> str:
    if each.gap is None or each.gap_standard_error is None:
        return ""
    if not each.gap:
        return "best"
    if each.mean_absolute_error is not None:
        return f"{figure(each.gap)} ± {figure(each.gap_standard_error)}"
    return f"{percent(each.gap)} ± {percent(each.gap_standard_error)}"


_MAX_CLASSES = 20
_MAX_EXAMPLES = 5


def comparison_view(comparison: Comparison) -> RenderableType:
    """Return the verdict, the metrics of both versions, and the classes that differ the most."""
    first, second = _name(comparison.first_version, "first"), _name(comparison.second_version, "second")
    table = new_table("", first, second, numbers=(first, second))
    for name, one, other in _figures(comparison.first, comparison.second):
        add_row(table, name, one, other)
    facts = [
        ("examples", comparison.example_count),
        ("difference", _difference(comparison)),
        ("p-value", f"{comparison.p_value:.3g}"),
        ("only the first is right", _only(comparison, comparison.only_first_right)),
        ("only the second is right", _only(comparison, comparison.only_second_right)),
        ("unusable", comparison.fault_count or None),
    ]
    return Group(
        Text(comparison.verdict),
        *_trained(comparison, first, second),
        table,
        facts_grid(facts),
        *_classes(comparison, first, second),
        *_differing(comparison, first, second),
    )


def _trained(comparison: Comparison, first: str, second: str) -> Iterable[RenderableType]:
    for name, count in ((first, comparison.first_trained_count), (second, comparison.second_trained_count)):
        if count:
            yield Text(
                f"{name} was trained on {plural(count, 'example')} of these, so its figures are better than "
                "they would be on new examples. Compare on examples that are new to both versions."
            )


def promotion_line(promotion: Promotion) -> str:
    """Return the result of a promotion in one line."""
    previous = promotion.baseline_version
    if promotion.promoted:
        origin = f"was on {previous}" if previous else "named none before"
        line = f"{promotion.alias} moved to the new version ({origin})"
    else:
        line = f"{promotion.alias} stays" + (f" on version {previous}" if previous else "")
    return ": ".join([line, " ".join(promotion.reasons)]) if promotion.reasons else line


def _figures(first: ComparedMetrics, second: ComparedMetrics) -> Iterable[tuple[str, str, str]]:
    rows = [
        ("accuracy", percent(first.accuracy), percent(second.accuracy)),
        ("balanced accuracy", percent(first.balanced_accuracy), percent(second.balanced_accuracy)),
        ("log loss", figure(first.log_loss), figure(second.log_loss)),
        ("mean absolute error", figure(first.mean_absolute_error), figure(second.mean_absolute_error)),
    ]
    return (row for row in rows if row[1] or row[2])


def _difference(comparison: Comparison) -> str:
    ends = (comparison.difference, comparison.difference_low, comparison.difference_high)
    if comparison.first.accuracy is None:
        return "{:+.3g} (95% interval {:+.3g} to {:+.3g})".format(*ends)
    return "{:+.1f} points (95% interval {:+.1f} to {:+.1f})".format(*(100 * end for end in ends))


def _only(comparison: Comparison, count: int) -> str | None:
    return None if comparison.first.accuracy is None else plural(count, "example")


def _classes(comparison: Comparison, first: str, second: str) -> Iterable[RenderableType]:
    changed = [each for each in comparison.classes if each.first_recall != each.second_recall]
    if not changed:
        return
    table = new_table("recall of", "examples", first, second, numbers=("examples", first, second))
    for each in sorted(changed, key=_change)[:_MAX_CLASSES]:
        add_row(table, each.name, each.example_count, percent(each.first_recall), percent(each.second_recall))
    yield table
    remaining = len(changed) - _MAX_CLASSES
    if remaining > 0:
        yield Text(f"  and {remaining} more, which changed less")


def _differing(comparison: Comparison, first: str, second: str) -> Iterable[RenderableType]:
    for name, is_first in ((first, True), (second, False)):
        found = [each for each in comparison.differing_examples if each.first_right is is_first]
        if not found:
            continue
        table = new_table(f"only {name} is right", "label", first, second)
        for each in found[:_MAX_EXAMPLES]:
            labels = (each.example.label, each.first_label, each.second_label)
            add_row(
                table, each.example.name, *("" if label is None else label_text(label) for label in labels)
            )
        yield table


def _change(compared: ComparedClass) -> float:
    return -abs(compared.second_recall - compared.first_recall)


def _name(target: VersionRef | None, otherwise: str) -> str:
    return f"{target.model}@{target.version}" if target else otherwise
