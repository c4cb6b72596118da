"""Display of the selection of a backbone."""

from rich.console import Group, RenderableType
from rich.text import Text

from headstart.cli.output.layout import add_row, duration, figure, new_table, percent, plural
from headstart.results import BackboneCandidate, BackboneSelection

__all__ = ["choice_line", "choice_view"]


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
