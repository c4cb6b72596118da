"""Calls that read examples, as values."""

from typing import Any, Literal, TypeAlias, TypedDict

from headstart.calls.calls import Call, Page, page_of
from headstart.decode import decode
from headstart.results import ExampleContent, ExampleIssue, ExampleMap, ExampleRecord
from headstart.v1 import example_service_pb2 as pb
from headstart.version_ref import VersionRef, selector

_PAGE_SIZE = 1000

ExampleKey: TypeAlias = str | int | ExampleRecord
"""An example: its ID, its index or its record."""
ThumbnailSize: TypeAlias = Literal[64, 128, 256, 512]
"""Length of the longer side of a thumbnail, in pixels."""


class ExampleQuery(TypedDict, total=False):
    """Conditions on examples, and their order; all are optional.

    Attributes:
        label: class that the label has.
        predicted_label: class that the predicted label has.
        issue: kind of a finding: ``label_issue``, ``duplicate``, ``contradiction``, ``outlier`` or ``error``.
        held_out: whether the example was held out.
        id_prefix: beginning of the ID.
        order_by: ``index`` or ``suspicion``, which lists the highest loss first. Default: ``index``.
        skip: number of examples to leave out at the beginning.
    """

    label: str
    predicted_label: str
    issue: ExampleIssue | str | None
    held_out: bool | None
    id_prefix: str
    order_by: Literal["index", "suspicion"]
    skip: int


def example_list(source: VersionRef | str, query: ExampleQuery, token: str) -> Call[Page[ExampleRecord]]:
    """Return the call of ListExamples, of a version or of the dataset of a name."""
    return Call.of(
        pb.ListExamplesRequest(
            **_of(source),
            filter=_filter(query),
            order_by=query.get("order_by", ""),
            page_size=_PAGE_SIZE,
            page_token=token,
            skip=0 if token else query.get("skip", 0),
        ),
        read=lambda response: page_of(response, response.examples, ExampleRecord),
    )


def example_content(
    source: VersionRef | str, example: ExampleKey, size: ThumbnailSize | None = None
) -> Call[ExampleContent]:
    """Return the call of GetExampleContent, of a version or of the dataset of a name."""
    key: dict[str, Any] = {"example_id": example} if isinstance(example, str) else {"index": example}
    if isinstance(example, ExampleRecord):
        key = {"index": example.index}
    return Call.of(
        pb.GetExampleContentRequest(thumbnail_size=size, **_of(source), **key),
        read=lambda response: decode(response, ExampleContent),
    )


def _of(source: VersionRef | str) -> dict[str, Any]:
    return {"dataset": source} if isinstance(source, str) else {"version": selector(source)}


def example_map(version: VersionRef) -> Call[ExampleMap]:
    """Return the call of GetExampleMap."""
    return Call.of(
        pb.GetExampleMapRequest(version=selector(version)), read=lambda response: decode(response, ExampleMap)
    )


def _filter(query: ExampleQuery) -> pb.ExampleFilter:
    issue, held_out = query.get("issue"), query.get("held_out")
    known = [each for each in ExampleIssue if each is not ExampleIssue.UNSPECIFIED]
    if issue is not None and issue.upper() not in known:
        names = ", ".join(each.lower() for each in known)
        raise ValueError(f"issue must be one of {names}. Received: {issue!r}")
    message = pb.ExampleFilter(
        label=query.get("label", ""),
        predicted_label=query.get("predicted_label", ""),
        issue=None if issue is None else f"EXAMPLE_ISSUE_{issue.upper()}",
        example_id_prefix=query.get("id_prefix", ""),
    )
    if held_out is not None:
        message.held_out = held_out
    return message
