"""Tables and facts of examples and datasets."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from headstart.cli.output.formats import Listing, listing
from headstart.cli.output.layout import (
    add_row,
    facts_grid,
    figure,
    moment,
    new_table,
    percent,
    short_moment,
    shortened,
)
from headstart.label_values import label_text
from headstart.results import Dataset, ExampleMap, ExampleRecord

_MIB = 1 << 20
_MAX_CLASSES = 20


def dataset_table(datasets: Sequence[Dataset]) -> RenderableType:
    """Return a table of datasets."""
    if not datasets:
        return Text("No datasets.")
    numbers = ("examples", "classes", "MiB")
    table = new_table("dataset", "state", *numbers, "created", whole=("created",), numbers=numbers)
    for each in datasets:
        add_row(
            table,
            each.dataset,
            each.state.lower(),
            f"{each.example_count:,}",
            f"{len(each.class_counts):,}",
            f"{each.byte_count / _MIB:.1f}",
            short_moment(each.create_time),
        )
    return table


def dataset_view(dataset: Dataset) -> RenderableType:
    """Return the facts of a dataset and its largest classes."""
    counts = sorted(dataset.class_counts.items(), key=lambda each: (-each[1], each[0]))
    shown = ", ".join(f"{name} ({count:,})" for name, count in counts[:_MAX_CLASSES])
    more = f", and {len(counts) - _MAX_CLASSES:,} more" if len(counts) > _MAX_CLASSES else ""
    facts = [
        ("dataset", dataset.dataset),
        ("display name", dataset.display_name or None),
        ("description", dataset.description or None),
        ("tags", ", ".join(f"{key}={value}" for key, value in dataset.tags.items()) or None),
        ("state", dataset.state.lower()),
        ("examples", f"{dataset.example_count:,} ({dataset.byte_count / _MIB:.1f} MiB)"),
        ("classes", f"{shown}{more}" or None),
        ("input", dataset.modality and dataset.modality.lower()),
        ("digest", dataset.digest or None),
        ("expires", moment(dataset.expire_time) if dataset.expire_time else None),
    ]
    return Group(facts_grid(facts))


def dataset_listing(datasets: Iterable[Dataset]) -> Listing:
    """Return datasets."""
    return listing(
        datasets,
        lambda each: each.dataset,
        {
            "dataset": lambda each: each.dataset,
            "state": lambda each: each.state,
            "example_count": lambda each: each.example_count,
            "class_count": lambda each: len(each.class_counts),
            "byte_count": lambda each: each.byte_count,
            "digest": lambda each: each.digest,
            "create_time": lambda each: each.create_time,
        },
    )


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
