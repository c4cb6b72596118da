"""The report as one HTML page, which loads nothing and runs no untrusted content."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from headstart_server.learning.analysis.dataset_findings import RecommendationKind
from headstart_server.learning.metrics.metrics import Metrics
from headstart_server.report.classes import class_section
from headstart_server.report.examples import (
    data_section,
    label_issues_section,
    mistakes_section,
    more_section,
)
from headstart_server.report.facts import ReportFacts
from headstart_server.report.formatting import (
    baseline,
    decision,
    interval,
    key_figures,
    measured_on,
    percent,
    verdict,
)
from headstart_server.report.lineage import lineage_section, selection_section
from headstart_server.report.markup import Markup, Section, named, note, tag, trusted
from headstart_server.report.plots import place
from headstart_server.report.quality import (
    comparison_section,
    confusion_section,
    number_section,
    reliability_section,
)

#: Recommendations that question the metrics themselves.
_ALARMING = frozenset(
    {RecommendationKind.LEAKAGE, RecommendationKind.CONTRADICTIONS, RecommendationKind.FAULTS}
)


def header(facts: ReportFacts) -> Markup:
    """Return the page header."""
    version, manifest = facts.version, facts.manifest
    aliases = [tag("span", named(alias), class_="chip") for alias in version.aliases]
    return tag(
        "header",
        tag("p", "Headstart report", class_="eyebrow"),
        tag(
            "h1",
            named(version.model),
            " ",
            tag("span", f"version {version.number}", class_="number"),
            aliases,
        ),
        tag("p", named(manifest.display_name), class_="title") if manifest.display_name else None,
        _verdict(facts),
        _tiles(facts),
        _decision(facts),
        _recommendations(facts),
    )


def _verdict(facts: ReportFacts) -> Markup:
    source = " ".join(filter(None, [measured_on(facts.metrics), baseline(facts)]))
    between = interval(facts.metrics)
    return tag(
        "div",
        tag("p", verdict(facts), class_="verdict"),
        _interval_bar(facts.metrics),
        tag("p", f"{between}. " if between else None, source, class_="said"),
        class_="lead",
    )


def _interval_bar(metrics: Metrics) -> Markup | None:
    """Return the accuracy and its interval on a line from 0 to 1."""
    if metrics.accuracy is None or metrics.accuracy_low is None or metrics.accuracy_high is None:
        return None
    low, high, at = (300 * end for end in (metrics.accuracy_low, metrics.accuracy_high, metrics.accuracy))
    title = f"Accuracy {percent(metrics.accuracy)}, {interval(metrics)}"
    return tag(
        "svg",
        tag("title", title),
        tag("rect", x="0", y="7", width="300", height="4", rx="2", class_="track"),
        tag(
            "rect", x=place(low), y="3", width=place(max(high - low, 4)), height="12", rx="3", class_="range"
        ),
        tag("rect", x=place(at - 1.5), y="1", width="3", height="16", rx="1.5", class_="at"),
        viewBox="-7 0 314 18",
        width="314",
        height="18",
        role="img",
        aria_label=title,
        class_="interval",
    )


def _tiles(facts: ReportFacts) -> Markup:
    tiles = [
        tag(
            "div",
            tag("dt", name),
            tag("dd", tag("strong", shown), tag("span", meaning)),
            class_="tile",
        )
        for name, shown, meaning in key_figures(facts)
    ]
    return tag("dl", tiles, class_="tiles")


def _decision(facts: ReportFacts) -> Markup | None:
    promotion = facts.promotion
    if promotion is None:
        return None
    return tag(
        "div",
        tag("p", tag("strong", named(decision(promotion)), ".")),
        tag("ul", [tag("li", named(reason)) for reason in promotion.reasons]) if promotion.reasons else None,
        class_=f"banner {'good' if promotion.is_promoted else 'held'}",
        role="note",
    )


def _recommendations(facts: ReportFacts) -> Markup | None:
    if facts.findings is None or not facts.findings.recommendations:
        return None
    items = [
        tag("li", named(recommendation.message), class_="alarm" if recommendation.kind in _ALARMING else None)
        for recommendation in facts.findings.recommendations
    ]
    return tag("div", tag("h2", "What to do"), tag("ul", items), class_="recommendations")


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
