import re
from dataclasses import fields
from datetime import timedelta

import numpy as np
import pytest

from headstart.arguments import prediction_run
from headstart.calls.calls import alias_setting
from headstart.decode import decode
from headstart.encode import encode, spec_message
from headstart.inputs.task import Task
from headstart.results.policies import RetrainPolicy
from headstart.spec import (
    Auto,
    FineTuneSpec,
    Logistic,
    Mlp,
    Partial,
    PromotionGate,
    Ridge,
    SpecSettings,
    make_spec,
)
from headstart.transport.settings import connection_settings
from headstart.v1 import retrain_policy_pb2
from headstart.version_ref import VersionRef, other_version, parse_version, version_ref


def test_every_field_of_a_spec_is_a_setting_or_an_argument():
    names = {field.name for field in fields(FineTuneSpec)}

    settings = SpecSettings.__annotations__.keys() - {"remove"}  # a short form of edits
    assert names == settings | {"model", "request_id", "dataset", "dataset_uri"}


def test_none_means_the_default():
    settings = dict.fromkeys(("backbone", "recipe", "tags", "alias", "ttl"))

    assert make_spec("m", settings) == FineTuneSpec(model="m")


def test_a_lifetime_may_be_given_in_seconds():
    assert make_spec("m", {"ttl": 90}).ttl == timedelta(seconds=90)


@pytest.mark.parametrize(
    ("recipe", "made"),
    [
        ("auto", Auto()),
        ("ridge", Ridge()),
        ("logistic", Logistic()),
        ("mlp", Mlp()),
        ("partial", Partial()),
        (Ridge(folds=3),) * 2,
    ],
)
def test_a_recipe_may_be_given_by_name(recipe, made):
    assert make_spec("m", {"recipe": recipe}).recipe == made


def test_an_unknown_recipe_is_refused_with_those_there_are():
    with pytest.raises(
        ValueError, match=r"recipe must be one of auto, ridge, logistic, mlp, partial. Received: 'svm'"
    ):
        make_spec("m", {"recipe": "svm"})


def test_a_spec_comes_back_from_its_message():
    spec = make_spec(
        "m",
        {
            "backbone": "b",
            "recipe": Ridge(regularization=0.5, temperature=2.0, folds=4, view="taps"),
            "held_out_fraction": 0.2,
            "seed": 2**64 - 1,
            "display_name": "D",
            "tags": {"a": "b"},
            "alias": "stable",
            "ttl": timedelta(hours=1),
            "max_excluded_fraction": 0.5,
            "task": "multi_label",
            "promote_if": PromotionGate(max_drop=0.0, max_class_drop=0.5, min_class_examples=3),
            "parent": 4,
            "remove": ["a.jpg"],
            "discard_examples": True,
        },
        request_id="r",
    )

    assert decode(spec_message(spec), FineTuneSpec) == spec


@pytest.mark.parametrize("parent", [7, "stable", None])
@pytest.mark.parametrize("gate", [None, PromotionGate(), PromotionGate(max_class_drop=0.0)])
def test_a_parent_and_a_gate_come_back_from_their_message(parent, gate):
    spec = make_spec("m", {"parent": parent, "alias": "stable", "promote_if": gate})

    assert decode(spec_message(spec), FineTuneSpec) == spec


@pytest.mark.parametrize("task", ["multi_label", "MULTI_LABEL", "multi-label", Task.MULTI_LABEL])
def test_a_task_may_be_written_in_several_ways(task):
    assert make_spec("m", {"task": task}).task is Task.MULTI_LABEL


def test_true_is_the_gate_with_its_defaults_and_false_means_no_gate():
    assert make_spec("m", {"alias": "stable", "promote_if": True}).promote_if == PromotionGate()
    assert make_spec("m", {"promote_if": False}).promote_if is None


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"task": "ranking"}, ValueError, "task must be one of single_label, multi_label, regression. Rec"),
        ({"task": "unspecified"}, ValueError, "task must be one of"),
        ({"promote_if": True}, ValueError, "promote_if requires an alias"),
        ({"remove": ["a"]}, ValueError, "edits and remove require a parent"),
        ({"remove": "a.jpg", "parent": 1}, TypeError, "remove must be a list of ids. Received: 'a.jpg'"),
        ({"remove": [1], "parent": 1}, TypeError, r"remove must be a list of ids. Received: \[1\]"),
        ({"parent": True}, TypeError, "parent must be a version's number or an alias. Received: True"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings, kind, message):
    with pytest.raises(kind, match=message):
        make_spec("m", settings)


@pytest.mark.parametrize("scaling", [None, "unit", "root", "standard"])
@pytest.mark.parametrize("balanced", [None, False, True])
def test_a_recipe_comes_back_from_its_message(scaling, balanced):
    for recipe in (
        Ridge(views=("taps", "last"), scaling=scaling, balanced=balanced),
        Logistic(scaling=scaling, balanced=balanced),
        Logistic(
            regularization=0.1, temperature=1.0, folds=3, views=("last",), time_budget=timedelta(seconds=2.5)
        ),
    ):
        spec = make_spec("m", {"recipe": recipe})
        assert decode(spec_message(spec), FineTuneSpec) == spec


@pytest.mark.parametrize(
    "recipe",
    [
        Mlp(),
        Mlp(
            hidden_units=64,
            dropout=0.0,
            weight_decay=0.01,
            learning_rate=1e-4,
            max_epochs=50,
            patience=4,
            temperature=0.5,
            folds=3,
            views=("last",),
            balanced=False,
            time_budget=timedelta(minutes=1),
        ),
        Partial(),
        Partial(
            blocks=2,
            learning_rate=1e-5,
            max_epochs=5,
            patience=1,
            temperature=2.0,
            balanced=True,
            time_budget=timedelta(seconds=90),
        ),
    ],
)
def test_a_recipe_that_trains_a_network_comes_back_from_its_message(recipe):
    spec = make_spec("m", {"recipe": recipe})
    assert decode(spec_message(spec), FineTuneSpec) == spec


def test_an_unknown_scaling_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"scaling must be one of unit, root, standard. Received: 'log'"):
        spec_message(make_spec("m", {"recipe": Ridge(scaling="log")}))


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("pets", VersionRef("pets")),
        ("pets@12", VersionRef("pets", version=12)),
        ("pets@stable", VersionRef("pets", alias="stable")),
        ("pets@v2", VersionRef("pets", alias="v2")),
    ],
)
def test_a_target_may_be_written_in_one_word(text, target):
    assert parse_version(text) == target


def test_a_label_that_is_no_text_is_named():
    with pytest.raises(TypeError, match=r"tags\['a'\] must be a str.* Received: 1"):
        make_spec("m", {"tags": {"b": "c", "a": 1}})


@pytest.mark.parametrize(
    "labels", [["cat", "dog"], ("cat",), np.array(["cat", "dog"]), np.zeros(3, int), iter(["cat"]), "cat"]
)
def test_classes_in_place_of_key_values_are_named_with_the_remedy(labels):
    with pytest.raises(TypeError, match=r"labels.*zip\(inputs, classes\)"):
        make_spec("pets", {"labels": labels})


@pytest.mark.parametrize(
    ("arguments", "ref"),
    [
        (("pets",), VersionRef("pets")),
        (("pets@3",), VersionRef("pets", 3)),
        (("pets@stable",), VersionRef("pets", alias="stable")),
        (("pets", 3), VersionRef("pets", 3)),
        (("pets", None, "stable"), VersionRef("pets", alias="stable")),
    ],
)
def test_a_version_may_be_part_of_the_model_s_name(arguments, ref):
    assert version_ref(*arguments) == ref
    assert str(ref) == str(version_ref(str(ref)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pets@3", 2), "The version is named twice. Remove one. Received: 'pets@3' and version=2"),
        (("pets@3", None, "stable"), "Received: 'pets@3' and alias='stable'"),
        (("pets@",), "Expected a number or an alias after '@'. Received: 'pets@'"),
        (("pets", 2, "stable"), "Give a version or an alias, not both"),
    ],
)
def test_a_version_that_is_named_twice_or_not_at_all_is_an_error(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        version_ref(*arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: version_ref(None),
            "A model must be a name, such as 'pets' or 'pets@stable'. Received: None",
        ),
        (lambda: version_ref(5, 3), "A model must be a name, such as 'pets' or 'pets@stable'. Received: 5"),
        (lambda: version_ref("pets", "1"), "A version must be an integer. Received: '1'"),
        (lambda: alias_setting("pets", "stable", "1", None), "A version must be an integer. Received: '1'"),
        (lambda: other_version(VersionRef("pets"), 1.0), "integer or an alias. Received: 1.0"),
        (lambda: spec_message(make_spec(5, {})), "model must be a str. Received: 5"),
        (
            lambda: encode(
                RetrainPolicy(alias="a", max_delay_duration=60), retrain_policy_pb2.RetrainPolicy()
            ),
            "max_delay_duration must be a timedelta. Received: 60",
        ),
        (lambda: prediction_run([], {"top_k": "2"}), "top_k must be an integer. Received: '2'"),
        (
            lambda: connection_settings(8765),
            "The server must be a str, such as 'localhost:8765'. Received: 8765",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_named(call, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        call()
