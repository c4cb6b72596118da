import unicodedata
from dataclasses import replace

import pytest

from headstart_server.learning.analysis.dataset_findings import (
    DatasetFindings,
    Recommendation,
    RecommendationKind,
)
from headstart_server.report.text import text
from report_samples import SAMPLES, of_classes


@pytest.mark.parametrize("name", SAMPLES)
def test_it_fits_a_terminal_of_80_columns(name):
    made = text(SAMPLES[name]())

    assert max(map(len, made.splitlines())) <= 80
    assert made == text(SAMPLES[name]())
    assert made.endswith("\n")
    assert "\n\n\n" not in made


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("two", ["pets, version 3 (canary, stable)", "stable was moved to this version from version 2."]),
        ("ten", ["What to do", "Most often confused", "Labels to look at", "The worst predictions"]),
        ("hundred", ["the 30 classes with the lowest F1 of 100"]),
        ("several", ["Every class right on "]),
        ("numbers", ["Off by 3.8 on average."]),
        ("short", ["Right on 95.0% of examples. 95% interval 84.0 to 99.0%."]),
        (
            "chosen",
            [
                "efficientnet-lite0 was chosen from 4 backbones.",
                "efficientnet-lite0  95.0% ± 2.8%  1.2% ± 1.3%       4.8    14     0.71",
                "  - huge: The time budget of 2 s was used up.",
            ],
        ),
        ("unmeasured", ["Not measured. Too few examples to measure how good it is."]),
    ],
)
def test_it_says_the_verdict_and_what_to_do(name, lines):
    made = text(SAMPLES[name]())

    assert [line for line in lines if line not in made] == []


def test_a_name_cannot_move_the_terminal_s_cursor():
    facts = of_classes(2, 40, names=["\x1b[2Jcat", "\u202edog"])
    recommendation = Recommendation(
        kind=RecommendationKind.FAULTS, message="\x1b]0;title\x07 and\nanother line"
    )
    made = text(replace(facts, findings=DatasetFindings(recommendations=(recommendation,))))

    assert [each for each in made if unicodedata.category(each) in ("Cc", "Cf", "Cs") and each != "\n"] == []
