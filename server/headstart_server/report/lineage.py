"""Lineage of a version."""

from typing import Any

from headstart_server.learning.heads.recipe import recipe_json
from headstart_server.models.version import Manifest
from headstart_server.report.facts import ReportFacts
from headstart_server.report.layout import Section, facts_list, section
from headstart_server.report.markup import Child, named, tag
from headstart_server.report.words import energy_line, figure, moment, plural

__all__ = ["lineage_section", "recipe_lines"]


def lineage_section(facts: ReportFacts) -> Section:
    """Return everything that is needed to reproduce the version."""
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
    return f"version {manifest.parent}, {plural(manifest.added_count, 'example')} added{removed}"


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
