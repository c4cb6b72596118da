"""The backbone selection of a version."""

from collections.abc import Sequence

from headstart_server.learning.metrics.backbone_selection import (
    BackboneCandidate,
    BackboneSelection,
    CandidateOutcome,
)
from headstart_server.report.layout import Section, note, section, table
from headstart_server.report.markup import named, tag
from headstart_server.report.words import DASH, figure, percent, plural

__all__ = ["candidate_columns", "candidate_row", "selection_line", "selection_section", "skipped_candidates"]


def selection_section(choice: BackboneSelection | None) -> Section | None:
    """Return the table of candidates and their results."""
    if choice is None:
        return None
    rows = [
        [named(candidate_row(each)[0]), *candidate_row(each)[1:]]
        if each.backbone != choice.backbone
        else [tag("strong", named(each.backbone)), *candidate_row(each)[1:]]
        for each in choice.candidates
    ]
    missing = [tag("li", named(line)) for line in skipped_candidates(choice)]
    return section(
        "Backbone",
        "How its backbone was chosen",
        tag("p", named(selection_line(choice))),
        table("Candidates, in the order in which they were to be tried", candidate_columns(choice), rows),
        tag("ul", missing) if missing else None,
        note(
            "Measured by cross-validation with ridge regression, so the figures may differ from those of the "
            "version. Milliseconds are those of one input by itself, decoding and pass, on the machine that "
            "made the version."
        ),
    )


def selection_line(choice: BackboneSelection) -> str:
    """Return what was selected, and why."""
    return f"{choice.backbone} was chosen from {plural(len(choice.candidates), 'backbone')}. {choice.reason}"


def candidate_columns(choice: BackboneSelection) -> Sequence[str]:
    """Return the names of the columns of `candidate_row`."""
    numbers = any(each.mean_absolute_error is not None for each in choice.candidates)
    return ["backbone", "error" if numbers else "accuracy", "behind", "ms/input", "MB", "seconds"]


def candidate_row(candidate: BackboneCandidate) -> list[str]:
    """Return the results of a candidate as short texts."""
    is_tried = candidate.outcome is CandidateOutcome.TRIED
    if candidate.mean_absolute_error is not None:
        quality = f"{figure(candidate.mean_absolute_error)} ± {figure(candidate.standard_error)}"
        behind = f"{figure(candidate.gap)} ± {figure(candidate.gap_standard_error)}"
    elif candidate.accuracy is not None:
        quality = f"{percent(candidate.accuracy)} ± {percent(candidate.standard_error)}"
        behind = f"{percent(candidate.gap)} ± {percent(candidate.gap_standard_error)}"
    else:
        quality = behind = DASH
    return [
        candidate.backbone,
        quality,
        behind if candidate.gap else DASH,
        f"{candidate.milliseconds:.1f}" if is_tried else DASH,
        f"{candidate.megabytes:.0f}",
        figure(candidate.seconds) if is_tried else DASH,
    ]


def skipped_candidates(choice: BackboneSelection) -> list[str]:
    """Return why each of the other candidates was not tried."""
    return [f"{each.backbone}: {each.message}" for each in choice.candidates if each.message]
