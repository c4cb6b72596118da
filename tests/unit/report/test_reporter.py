import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from fakes import ManualClock, Publisher, make_head, make_manifest
from headstart_server.api.grpc.messages.exports import report_document
from headstart_server.errors import AliasNotFound, ArtifactDamaged, ModelNotFound
from headstart_server.models.version import Selector
from headstart_server.models.version_files import EVALUATION_FILE
from headstart_server.report.examples import sample_indexes
from headstart_server.report.reporter import MAX_SHOWN, Reporter, ReportFormat
from report_samples import image, of_classes

FACTS = of_classes(3, 60, names=["class 0", "class 1", "class 2"])
STORED = json.dumps({"evaluation": FACTS.evaluation.to_json(), "findings": FACTS.findings.to_json()}).encode()


class Bench:
    """A registry to publish versions in, and a reporter on it."""

    def __init__(self, folder: Path) -> None:
        self.publisher = Publisher(folder, ManualClock())
        self.requested: list[int] = []
        self.contents: dict[int, object] = {}
        self.reporter = Reporter(self.publisher.registry, self._read, report_document, max_pixels=10_000)

    def _read(self, version, indexes):
        self.requested += indexes
        return {index: self.contents[index] for index in indexes if index in self.contents}

    def publish(self, **files: bytes) -> None:
        named = {EVALUATION_FILE: files["evaluation"]} if files else {}
        written, size = self.publisher.store.write("job-1.1", make_head(), make_manifest(), named)
        with self.publisher.database.write() as connection:
            self.publisher.registry.insert(
                connection,
                artifact="job-1.1",
                size_bytes=size,
                manifest=written,
                expires=None,
                alias="stable",
            )
        self.publisher.registry.index.refresh("pets")

    def text(self, form: ReportFormat, **selector) -> str:
        return self.reporter.report(Selector(model="pets", **selector), form).content.decode()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.publisher.close()


@pytest.mark.parametrize(
    ("form", "media_type", "begins"),
    [
        (ReportFormat.HTML, "text/html; charset=utf-8", "<!doctype html>\n"),
        (ReportFormat.JSON, "application/json", "{\n"),
        (ReportFormat.TEXT, "text/plain; charset=utf-8", "pets, version 1 (stable)\n"),
    ],
)
def test_a_version_is_reported_in_each_form(bench: Bench, form, media_type, begins):
    bench.publish(evaluation=STORED)

    report = bench.reporter.report(Selector(model="pets", alias="stable"), form)

    assert (report.number, report.media_type) == (1, media_type)
    assert report.content.decode().startswith(begins)
    assert report == bench.reporter.report(Selector(model="pets", number=1), form)


def test_only_the_page_asks_for_images_and_only_for_those_it_shows(bench: Bench):
    bench.publish(evaluation=STORED)
    wanted = sample_indexes(FACTS.evaluation, FACTS.findings)
    bench.contents = {wanted[0]: image(1), wanted[1]: b"no image", wanted[2]: "a text"}

    bench.text(ReportFormat.TEXT)
    bench.text(ReportFormat.JSON)
    assert bench.requested == []
    page = bench.text(ReportFormat.HTML)

    assert bench.requested == wanted
    assert page.count("data:image/jpeg;base64,") >= 1


def test_a_version_of_0_1_has_a_shorter_report(bench: Bench):
    bench.publish()

    assert "No evaluation is stored" in bench.text(ReportFormat.HTML)
    assert "evaluation" not in json.loads(bench.text(ReportFormat.JSON))
    assert bench.requested == []


@pytest.mark.parametrize("stored", [b"{", b"[]", b'{"evaluation": {"metrics": 3}}', b"\xff"])
def test_an_evaluation_that_cannot_be_read_is_a_damaged_version(bench: Bench, stored):
    bench.publish(evaluation=stored)

    with pytest.raises(ArtifactDamaged, match="The evaluation of version 1 of model 'pets' cannot be read"):
        bench.text(ReportFormat.HTML)
    registry = bench.publisher.registry
    with pytest.raises(ArtifactDamaged):
        registry.files.evaluation(registry.selected(Selector(model="pets")))


def test_findings_may_be_missing(bench: Bench):
    bench.publish(evaluation=json.dumps({"evaluation": FACTS.evaluation.to_json()}).encode())

    assert "findings" not in json.loads(bench.text(ReportFormat.JSON))


def test_a_version_that_is_not_there_cannot_be_reported(bench: Bench):
    with pytest.raises(ModelNotFound):
        bench.text(ReportFormat.HTML)
    bench.publish()
    with pytest.raises(AliasNotFound):
        bench.text(ReportFormat.HTML, alias="canary")


def test_of_texts_the_page_has_the_beginnings_and_no_images(bench: Bench):
    bench.publish(evaluation=STORED)
    indexes = sample_indexes(FACTS.evaluation, FACTS.findings)
    long = "An <i>italic</i>\n\n  text, " + "and so on " * 100
    bench.contents = {indexes[0]: long, indexes[1]: "Short.", indexes[2]: np.zeros(3, np.float32)}

    html = bench.text(ReportFormat.HTML)

    assert html.count('class="sample"') == 2 * html.count('<bdi class="sample">Short.</bdi>')
    assert "An &lt;i&gt;italic&lt;/i&gt; text, and so on" in html
    assert "<img" not in html
    (sample, *_) = re.findall(r'class="sample">(An [^<]*)<', html)
    assert len(unescape(sample)) == MAX_SHOWN
    assert sample.endswith("…")
