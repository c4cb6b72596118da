"""The report as one HTML page, which loads nothing and runs no untrusted content."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from headstart_server.report.classes import class_section
from headstart_server.report.examples import (
    data_section,
    label_issues_section,
    mistakes_section,
    more_section,
)
from headstart_server.report.facts import ReportFacts
from headstart_server.report.header import header
from headstart_server.report.lineage import lineage_section, selection_section
from headstart_server.report.markup import Markup, Section, note, tag, trusted
from headstart_server.report.quality import (
    comparison_section,
    confusion_section,
    number_section,
    reliability_section,
)

MEDIA_TYPE = "text/html; charset=utf-8"


def page(facts: ReportFacts) -> str:
    """Return the page of a version; the same facts give the same page."""
    sections = _sections(facts)
    style, script = _own("page.css"), _own("page.js")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{facts.version.model}, version {facts.version.number}"),
        tag("style", trusted(style)),
    )
    body = tag(
        "body",
        tag("a", "To the figures", href="#main", class_="skip"),
        header(facts),
        _contents(sections),
        tag("main", None if facts.evaluation else _short(), [part for _, _, part in sections], id="main"),
        tag(
            "footer",
            tag("p", f"Made by {facts.manifest.software}. Nothing on this page is loaded from elsewhere."),
        ),
        tag("script", trusted(script)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _sections(facts: ReportFacts) -> list[Section]:
    evaluation = facts.evaluation
    found = [
        comparison_section(facts.promotion),
        confusion_section(facts),
        number_section(evaluation) if evaluation else None,
        label_issues_section(facts),
        mistakes_section(facts),
        class_section(evaluation, facts.thresholds) if evaluation else None,
        reliability_section(evaluation) if evaluation else None,
        more_section(facts),
        data_section(facts),
        selection_section(facts.manifest.backbone_selection),
        lineage_section(facts),
    ]
    return [each for each in found if each is not None]


def _contents(sections: list[Section]) -> Markup:
    links = [tag("li", tag("a", name, href=f"#{anchor}")) for anchor, name, _ in sections]
    return tag("nav", tag("ul", links), aria_label="On this page")


def _short() -> Markup:
    return note("No evaluation is stored for this version. Fine-tune again to create one.")


def _policy(style: str, script: str) -> str:
    """Return the policy that allows only our style and script, by digest, and embedded images."""
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _digest(content: str) -> str:
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
