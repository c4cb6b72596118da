"""Tables and facts of datasets."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from headstart.cli.output.formats import Listing, listing
from headstart.cli.output.layout import add_row, facts_grid, moment, new_table, short_moment
from headstart.results import Dataset

__all__ = ["dataset_listing", "dataset_table", "dataset_view"]

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
