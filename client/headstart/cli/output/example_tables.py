"""Display of stored examples."""

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.text import Text

from headstart.cli.output.formats import Listing, listing
from headstart.cli.output.layout import add_row, facts_grid, figure, new_table, percent, shortened
from headstart.label_values import label_text
from headstart.results import ExampleMap, ExampleRecord

__all__ = ["example_listing", "example_table", "example_view", "map_listing", "map_table"]

_MAX_NAME = 60


def example_table(examples: Sequence[ExampleRecord]) -> RenderableType:
    """Return a table of examples."""
    if not examples:
        return Text("No examples.")
    table = new_table(
        "index", "example", "label", "predicted", "probability\nof label", "findings", numbers=("index",)
    )
    for each in examples:
        add_row(
            table,
            each.index,
            shortened(each.example_id, _MAX_NAME),
            label_text(each.label),
            "" if each.predicted_label is None else label_text(each.predicted_label),
            percent(each.label_probability),
            _findings(each),
        )
    return table


def example_view(record: ExampleRecord) -> RenderableType:
    """Return the facts of an example."""
    facts = [
        ("example", record.example_id or None),
        ("index", record.index),
        ("label", label_text(record.label)),
        ("predicted", None if record.predicted_label is None else label_text(record.predicted_label)),
        ("probability of label", percent(record.label_probability) or None),
        ("probability of prediction", percent(record.predicted_probability) or None),
        ("loss", figure(record.loss) or None),
        ("findings", _findings(record) or None),
        ("held out", "yes" if record.held_out else None),
        ("weight", None if record.weight == 1 else figure(record.weight)),
        ("content", f"{record.media_type}, {record.size_bytes:,} bytes" if record.media_type else None),
        ("origin", record.origin.lower()),
        ("stored", "yes" if record.has_content else "no"),
    ]
    return facts_grid(facts)


def example_listing(examples: Iterable[ExampleRecord]) -> Listing:
    """Return examples as names and rows."""
    return listing(
        examples,
        lambda each: each.example_id or f"#{each.index}",
        {
            "index": lambda each: each.index,
            "example_id": lambda each: each.example_id,
            "label": lambda each: label_text(each.label),
            "predicted_label": lambda each: (
                "" if each.predicted_label is None else label_text(each.predicted_label)
            ),
            "label_probability": lambda each: each.label_probability,
            "predicted_probability": lambda each: each.predicted_probability,
            "loss": lambda each: each.loss,
            "findings": _findings,
            "held_out": lambda each: each.held_out,
            "weight": lambda each: each.weight,
            "media_type": lambda each: each.media_type,
            "size_bytes": lambda each: each.size_bytes,
            "origin": lambda each: each.origin,
            "has_content": lambda each: each.has_content,
        },
    )


def map_table(found: ExampleMap) -> RenderableType:
    """Return a table of the classes on a map, with the center of each."""
    table = new_table("label", "points", "center x", "center y", numbers=("points", "center x", "center y"))
    places: dict[str, list[int]] = {}
    for point in range(len(found.x)):
        places.setdefault("all" if found.values else label_text(found.label(point)), []).append(point)
    for name in sorted(places):
        points = places[name]
        centers = (sum(axis[point] for point in points) / len(points) for axis in (found.x, found.y))
        add_row(table, name, len(points), *(f"{center:.3f}" for center in centers))
    return table


def map_listing(found: ExampleMap) -> Listing:
    """Return the points of a map as names and rows."""
    return listing(
        range(len(found.x)),
        lambda point: f"#{point * found.stride}",
        {
            "index": lambda point: point * found.stride,
            "x": lambda point: found.x[point],
            "y": lambda point: found.y[point],
            "label": lambda point: "" if found.label(point) is None else label_text(found.label(point)),
        },
    )


def _findings(record: ExampleRecord) -> str:
    return ", ".join(issue.lower().replace("_", " ") for issue in record.issues)
