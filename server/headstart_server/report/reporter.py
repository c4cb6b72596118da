"""Collects the facts about a version and writes them in a format."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from headstart_server.auth.tenants import own_name
from headstart_server.backbones.contract.backbone import Content
from headstart_server.backbones.preprocessing.thumbnails import thumbnail
from headstart_server.models.registry import Registry
from headstart_server.models.version import Selector, Version
from headstart_server.report import page, text
from headstart_server.report.examples import sample_indexes
from headstart_server.report.facts import ReportFacts, Sample
from headstart_server.report.formatting import shorten

ReadContents = Callable[[Version, Collection[int]], Mapping[int, Content]]
"""Returns the retained contents of a version's examples by their indexes."""


#: Maximum characters of a text sample.
MAX_SHOWN = 240


class ReportFormat(Enum):
    """The formats of a report."""

    HTML = "html"
    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A report."""

    number: int
    content: bytes
    media_type: str


def _shown(version: Version) -> Version:
    name = own_name(version.model)
    return replace(version, model=name, manifest=replace(version.manifest, model=name))


class Reporter:
    """Writes reports.

    Args:
        write_json: writes the facts as a JSON document.
        max_pixels: the largest image that is decoded.
    """

    def __init__(
        self,
        registry: Registry,
        read_contents: ReadContents,
        write_json: Callable[[ReportFacts], str],
        *,
        max_pixels: int,
    ) -> None:
        self._registry = registry
        self._read_contents = read_contents
        self._max_pixels = max_pixels
        self._formats = {**_FORMATS, ReportFormat.JSON: (write_json, "application/json")}

    def report(self, selector: Selector, form: ReportFormat) -> Report:
        """Return the report of a version."""
        version = self._registry.selected(selector)
        evaluation, findings = self._registry.files.evaluation(version)
        indexes = sample_indexes(evaluation, findings) if form is ReportFormat.HTML else []
        facts = ReportFacts(
            version=_shown(version),
            evaluation=evaluation,
            findings=findings,
            samples=self._samples(version, indexes) if indexes else {},
        )
        write, media_type = self._formats[form]
        return Report(number=version.number, content=write(facts).encode(), media_type=media_type)

    def _samples(self, version: Version, indexes: Collection[int]) -> dict[int, Sample]:
        contents = self._read_contents(version, indexes)
        samples = {index: self._sample(content) for index, content in contents.items()}
        return {index: sample for index, sample in samples.items() if sample is not None}

    def _sample(self, content: Content) -> Sample | None:
        if isinstance(content, str):
            # Twice the shown length, because runs of spaces are collapsed.
            return shorten(" ".join(content[: 2 * MAX_SHOWN].split()), MAX_SHOWN)
        return thumbnail(content, max_pixels=self._max_pixels)


_FORMATS: dict[ReportFormat, tuple[Callable[[ReportFacts], str], str]] = {
    ReportFormat.HTML: (page.page, page.MEDIA_TYPE),
    ReportFormat.TEXT: (text.text, text.MEDIA_TYPE),
}
