import json
from dataclasses import replace

import pytest

from headstart_server.learning.backbone_selection import BackboneSelection
from headstart_server.learning.dataset_findings import DatasetFindings
from headstart_server.learning.evaluation import Evaluation
from headstart_server.learning.recipe import Logistic
from headstart_server.report.document import document
from report_samples import HOSTILE, SAMPLES

KEYS = """
    format model version aliases task created expires size_bytes display_name tags class_names thresholds
    metrics evaluation findings promotion backbone_selection energy lineage
"""
LINEAGE = """
    job_id backbone backbone_digest dataset_digest recipe seed example_count software runtime stop_reason
    fit_seconds head_digest parent added_count removed_count note tail
"""


@pytest.mark.parametrize("name", SAMPLES)
def test_its_keys_are_those_that_are_documented(name):
    facts = json.loads(document(SAMPLES[name]()))

    assert sorted(facts) == sorted(KEYS.split())
    assert sorted(facts["lineage"]) == sorted(LINEAGE.split())
    assert all(f"``{key}``" in document.__doc__ for key in (*KEYS.split(), *LINEAGE.split()))


def test_how_the_backbone_was_chosen_and_what_recipe_was_asked_for_is_told():
    facts = SAMPLES["chosen"]()
    read = json.loads(document(facts))

    assert BackboneSelection.from_json(read["backbone_selection"]) == facts.manifest.backbone_selection
    assert "backbone_selection" not in read["lineage"]
    asked = replace(facts.manifest, requested_recipe=Logistic(regularization=0.5))
    told = json.loads(document(replace(facts, version=replace(facts.version, manifest=asked))))
    assert told["lineage"]["requested_recipe"]["logistic"]["regularization"] == 0.5


@pytest.mark.parametrize("name", ["ten", "several", "numbers", "hostile"])
def test_evaluation_and_findings_are_whole(name):
    facts = SAMPLES[name]()
    read = json.loads(document(facts))

    assert Evaluation.from_json(read["evaluation"]) == facts.evaluation
    assert DatasetFindings.from_json(read["findings"]) == facts.findings


def test_names_are_as_they_were_given():
    assert json.loads(document(SAMPLES["hostile"]()))["display_name"] == HOSTILE


def test_of_a_version_of_0_1_there_are_the_figures_in_short():
    read = json.loads(document(SAMPLES["old"]()))

    assert (read["evaluation"], read["findings"], read["promotion"]) == (None, None, None)
    assert read["metrics"]["accuracy"] == 0.95
