"""The columns of a table that the query of an upload names."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from headstart.inputs.records import Layout
from headstart_server.errors import InvalidField

#: The suffix of files in the format of each media type of a table.
TABLES: Mapping[str, str] = MappingProxyType({"text/csv": ".csv", "text/tab-separated-values": ".tsv"})
#: Parameters of the query by their lowercase names without underscores; each names the column of a meaning.
_NAMES: Mapping[str, str] = MappingProxyType(
    {f"{meaning}column": meaning for meaning in ("label", "text", "value", "id")}
)
_FEATURES = "featurecolumns"
#: The parameters as the documentation writes them.
PARAMETERS: Mapping[str, str] = MappingProxyType(
    {
        "labelColumn": "Name of the column of labels in a table.",
        "textColumn": "Name of the column of texts in a table.",
        "valueColumn": "Name of the column of numbers to predict in a table.",
        "idColumn": "Name of the column of example IDs in a table.",
        "featureColumns": "Name of a feature column in a table. Repeat it for each column, in order.",
    }
)


def split_columns(query: Mapping[str, Sequence[str]]) -> tuple[Layout, dict[str, Sequence[str]]]:
    """Return the columns that a query names, and its other parameters."""
    names: dict[str, str] = {}
    features: list[str] = []
    others: dict[str, Sequence[str]] = {}
    for name, values in query.items():
        key = name.replace("_", "").lower()
        if key == _FEATURES:
            features += values
        elif key not in _NAMES:
            others[name] = values
        elif len(values) > 1 or _NAMES[key] in names:
            raise InvalidField(f"The query has {name!r} more than once. Send it once.", field=name)
        else:
            names[_NAMES[key]] = values[0]
    return Layout(names=names, features=tuple(features) or None), others


def names_columns(layout: Layout) -> bool:
    """Return whether a layout names columns."""
    return bool(layout.names) or layout.features is not None


def check_no_columns(layout: Layout) -> None:
    """Check that no columns are named, because the body is not a table."""
    if names_columns(layout):
        raise InvalidField(
            f"The query names columns, but the body has none. Leave out {', '.join(PARAMETERS)}, or send a "
            "table as text/csv, text/tab-separated-values or application/jsonl."
        )
