import base64
import re
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from headstart_server.report.page import page
from report_samples import HOSTILE, SAMPLES, of_classes, with_choice

VOID = {"meta", "img", "br", "hr"}
EXTERNAL = {"src", "srcset", "action", "formaction", "poster", "data", "cite", "background", "ping"}


class Reading(HTMLParser):
    """Reads a page: its elements and texts, and whether each that was opened was closed."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, str] = {}
        self.open: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        where = self.open[-1] if self.open else ""
        self.texts[where] = self.texts.get(where, "") + data

    def named(self, *names: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag in names]

    @property
    def text(self) -> str:
        return " ".join(self.texts.values())


@pytest.fixture(scope="module", params=SAMPLES, name="made")
def made_page(request) -> tuple[str, Reading]:
    content = page(SAMPLES[request.param]())
    return content, Reading(content)


def test_every_element_is_closed_in_its_order(made):
    assert made[1].open == []


def test_nothing_is_loaded_from_elsewhere(made):
    _, read = made

    assert not read.named("link", "iframe", "object", "embed", "base", "form", "audio", "video")
    for _, attributes in read.tags:
        for name in EXTERNAL & attributes.keys():
            assert attributes[name].startswith("data:image/jpeg;base64,")
        assert attributes.get("href", "#").startswith("#")
    assert "url(" not in read.texts["style"]
    assert "@import" not in read.texts["style"]


def test_only_our_own_style_and_script_are_allowed_by_their_digests(made):
    _, read = made
    (policy,) = [each["content"] for each in read.named("meta") if "http-equiv" in each]

    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for name in ("style", "script"):
        digest = base64.b64encode(sha256(read.texts[name].encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
        assert len(read.named(name)) == 1
    for _, attributes in read.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


def test_every_anchor_leads_somewhere_and_no_id_comes_twice(made):
    _, read = made
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]

    assert len(set(ids)) == len(ids)
    assert {each["href"][1:] for each in read.named("a")} <= set(ids)


def test_every_image_and_chart_says_what_it_shows(made):
    _, read = made

    assert all(each["alt"] for each in read.named("img"))
    assert all(each["aria-label"] for each in read.named("svg") if each.get("role") == "img")
    assert {each["role"] for each in read.named("svg")} <= {"img"}
    assert len(read.named("caption")) == len(read.named("table"))


def test_headings_go_down_one_level_at_a_time(made):
    levels = [int(tag[1]) for tag, _ in made[1].tags if re.fullmatch("h[1-6]", tag)]

    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_there_are_at_most_a_hundred_small_images(made):
    content, read = made

    assert len(read.named("img")) <= 100
    assert len(content) < 1_000_000


@pytest.mark.parametrize("name", SAMPLES)
def test_the_same_facts_give_the_same_page(name):
    assert page(SAMPLES[name]()) == page(SAMPLES[name]())


def test_hostile_names_are_names_and_nothing_else():
    content = page(SAMPLES["hostile"]())
    read = Reading(content)

    assert HOSTILE not in content
    assert "<img src=x" not in content
    assert "</style><style>" not in content
    assert HOSTILE in read.text
    assert "alert" not in read.texts["script"]
    assert len(read.named("script")) == len(read.named("style")) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "two",
            ["Right on ", "stable was moved to this version from version 2", "Which classes are confused"],
        ),
        ("ten", ["stable was not moved: it stays on version 2", "a fall by 1.00% is allowed", "ship & boat"]),
        ("hundred", ["80 others", "The 12 classes with the lowest average precision."]),
        ("several", ["Every class right on ", "threshold", "The mark is the threshold in use."]),
        ("numbers", ["Off by ", "How far the numbers are off", "R squared"]),
        ("short", ["Right on 95.0% of examples", "No evaluation is stored for this version"]),
        ("unmeasured", ["Not measured", "Too few examples to measure how good it is."]),
    ],
)
def test_each_kind_of_version_has_a_page_that_fits(name, words):
    text = Reading(page(SAMPLES[name]())).text

    assert [each for each in words if each not in text] == []


def test_a_version_has_its_lineage():
    text = Reading(page(SAMPLES["ten"]())).text

    for part in (
        "efficientnet-lite0",
        "openvino bfloat16",
        "3f8a" * 16,
        "91c2" * 16,
        "team=vision",
        "0.084 s",
    ):
        assert part in text
    assert "regularization 0.0316" in text
    assert "2027-01-15 08:00 UTC by headstart 0.2.0" in text


def test_a_version_has_its_parent():
    facts = of_classes(2, 60)
    manifest = replace(facts.manifest, parent=2, added_count=1, removed_count=3)

    text = Reading(page(replace(facts, version=replace(facts.version, manifest=manifest)))).text

    assert "version 2, 1 example added, 3 of its examples left out" in text


def test_the_backbone_selection_has_its_section():
    text = Reading(page(SAMPLES["chosen"]())).text

    for part in (
        "How its backbone was chosen",
        "efficientnet-lite0 was chosen from 4 backbones. It is the cheapest of those within",
        "95.0% ± 2.8%",
        "1.2% ± 1.3%",
        "broken: Expected one weight file of broken",
    ):
        assert part in text
    assert "How its backbone was chosen" not in Reading(page(SAMPLES["ten"]())).text
    hostile = page(with_choice(of_classes(2, 60), HOSTILE))
    assert HOSTILE not in hostile


def test_without_kept_examples_there_are_names_in_place_of_images():
    facts = replace(of_classes(2, 60), samples={})
    read = Reading(page(facts))

    assert not read.named("img")
    assert facts.evaluation.worst[0].id in read.text
