"""Lineage of a version, and the selection of its backbone."""

from collections.abc import Sequence
from typing import Any

from headstart_server.learning.heads.recipe import recipe_json
from headstart_server.learning.metrics.backbone_selection import (
    BackboneCandidate,
    BackboneSelection,
    CandidateOutcome,
)
from headstart_server.models.version import Manifest
from headstart_server.report.facts import ReportFacts
from headstart_server.report.formatting import DASH, energy_line, figure, moment, percent, plural
from headstart_server.report.markup import Child, Section, facts_list, named, note, section, table, tag


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
    """Return the selected backbone and the reason."""
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
    """Return the reasons of the candidates that were not tried."""
    return [f"{each.backbone}: {each.message}" for each in choice.candidates if each.message]


def lineage_section(facts: ReportFacts) -> Section:
    """Return everything needed to reproduce the version."""
    version, manifest = facts.version, facts.manifest
    tags = [
        tag("span", named(f"{key}={value}"), class_="chip") for key, value in sorted(manifest.tags.items())
    ]
    return section(
        "Lineage",
        "Where it came from",
        facts_list(
            [
                ("made", f"{moment(version.created)} by {manifest.software}"),
                ("kept until", moment(version.expires) if version.expires else None),
                ("trained on", plural(manifest.example_count, "example")),
                ("parent", _parent(manifest)),
                (
                    "classes",
                    plural(len(manifest.class_names), "class", "classes") if manifest.class_names else None,
                ),
                ("recipe", [tag("span", line, class_="line") for line in recipe_lines(facts)]),
                ("how it came about", named(manifest.note) if manifest.note else None),
                ("trained blocks", _tail(manifest)),
                ("seed", str(manifest.seed)),
                ("fitting took", f"{figure(manifest.fit_seconds)} s" if manifest.fit_seconds else None),
                ("energy", energy_line(manifest.energy)),
                ("ended because", manifest.stop_reason or None),
                ("backbone", named(manifest.backbone)),
                ("runs on", named(manifest.runtime) if manifest.runtime else None),
                ("tags", tags or None),
                ("job", _code(manifest.job_id)),
                ("backbone digest", _code(manifest.backbone_digest)),
                ("dataset digest", _code(manifest.dataset_digest)),
                ("head digest", _code(manifest.head_digest)),
                ("size", f"{version.size_bytes / 1024:,.0f} KiB"),
            ]
        ),
    )


def _parent(manifest: Manifest) -> str | None:
    if not manifest.parent:
        return None
    removed = f", {manifest.removed_count:,} of its examples left out" if manifest.removed_count else ""
    edited = f", {manifest.edited_count:,} changed" if manifest.edited_count else ""
    return f"version {manifest.parent}, {plural(manifest.added_count, 'example')} added{removed}{edited}"


def _tail(manifest: Manifest) -> str | None:
    if manifest.tail is None:
        return None
    return f"the last {plural(manifest.tail.blocks, 'block')} of the backbone, trained on"


def recipe_lines(facts: ReportFacts) -> list[str]:
    """Return the resolved recipe: its name, then each setting."""
    ((name, fields),) = recipe_json(facts.manifest.recipe).items()
    settings = [
        f"{key.replace('_', ' ')} {_shown(value)}" for key, value in fields.items() if value is not None
    ]
    return [name, *settings]


def _shown(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return ", ".join(map(_shown, value))
    return str(value)


def _code(text: str) -> Child:
    return tag("code", text) if text else None
