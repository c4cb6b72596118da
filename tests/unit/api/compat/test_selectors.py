"""How models, versions and aliases are named in other protocols."""

import pytest

from headstart_server.api.compat import open_inference_pb2, tensorflow_model_service
from headstart_server.api.compat import tensorflow_serving_pb2 as pb
from headstart_server.api.compat.compat_predictor import selector_of
from headstart_server.api.compat.open_inference_service import routing_key_of
from headstart_server.api.compat.services import services_of
from headstart_server.errors import InvalidField
from headstart_server.models.version import Selector


@pytest.mark.parametrize(
    ("name", "version", "selector"),
    [
        ("pets", "", Selector(model="pets")),
        ("pets", "12", Selector(model="pets", number=12)),
        ("pets@stable", "", Selector(model="pets", alias="stable")),
        ("pets@12", "", Selector(model="pets", number=12)),
    ],
)
def test_a_version_is_named_by_number_or_by_alias(name: str, version: str, selector: Selector) -> None:
    assert selector_of(name, version, "name") == selector


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("", "", "Expected the name of a model"),
        ("@stable", "", "Expected the name of a model"),
        ("pets@", "", "Expected the name of a model"),
        ("pets@stable", "1", "Expected either a name with @ or a version"),
        ("pets", "stable", "Received: 'stable'. Put an alias in the name, as in pets@stable."),
        ("pets", "-1", "Expected the number"),
        ("pets", "²", "Expected the number"),
        ("pets", "9" * 5000, "Expected the number"),
    ],
)
def test_other_names_are_refused(name: str, version: str, expected: str) -> None:
    with pytest.raises(InvalidField, match=expected):
        selector_of(name, version, "name")


def test_tensorflow_serving_names_an_alias_by_its_label() -> None:
    numbered, labelled = pb.ModelSpec(name="pets"), pb.ModelSpec(name="pets", version_label="stable")
    numbered.version.value = 3
    of = tensorflow_model_service.selector_of
    assert of(numbered) == Selector(model="pets", number=3)
    assert of(labelled) == Selector(model="pets", alias="stable")
    assert of(pb.ModelSpec(name="pets")) == Selector(model="pets")
    with pytest.raises(InvalidField, match=r"model_spec\.name is missing"):
        of(pb.ModelSpec())


def test_other_signatures_are_refused() -> None:
    check = tensorflow_model_service.check_signature
    check(pb.ModelSpec(), ["serving_default"])
    check(pb.ModelSpec(signature_name="serving_default"), ["serving_default"])
    with pytest.raises(InvalidField, match="Received: 'encode'"):
        check(pb.ModelSpec(signature_name="encode"), ["serving_default"])


@pytest.mark.parametrize(
    ("dialects", "names"),
    [
        ((), []),
        (("oip",), ["inference.GRPCInferenceService"]),
        (("tfserving",), ["tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"]),
    ],
)
def test_only_the_chosen_dialects_are_spoken(dialects: tuple[str, ...], names: list[str]) -> None:
    parts: tuple = (None,) * 4
    assert [service.name for service in services_of(dialects, *parts)] == names


def test_a_routing_key_may_be_a_number_and_nothing_else_is_passed_over() -> None:
    request = open_inference_pb2.ModelInferRequest()
    assert routing_key_of(request) == ""
    parameter = request.parameters["routing_key"]
    parameter.string_param = "ann"
    assert routing_key_of(request) == "ann"
    parameter.int64_param = 7
    assert routing_key_of(request) == "7"
    parameter.double_param = 7.0
    with pytest.raises(InvalidField, match=r"Received: double_param"):
        routing_key_of(request)
