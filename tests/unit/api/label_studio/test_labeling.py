"""The labeling configuration of a project: which control is used, and what is refused."""

import math
import time

import pytest

from headstart.v1 import label_pb2
from headstart_server.api.label_studio.labeling import MAX_CONFIG_BYTES, Answer, labeling_of, region_ids
from headstart_server.errors import InvalidField

CHOICES = """<View>
  <Header value="Which?"/>
  <Image name="img" value="$image"/>
  <Choices name="which" toName="img" choice="single-radio">
    <View><Choice value="A cat" alias="cat"/></View><Choice value="dog"/>
  </Choices>
</View>"""


def test_choices_have_their_aliases() -> None:
    labeling = labeling_of(CHOICES)
    assert (labeling.control, labeling.shown, labeling.key) == ("which", "img", "image")
    assert labeling.answer is Answer.CHOICE
    assert labeling.choices == {"cat", "dog"}
    assert labeling.is_image
    assert labeling.is_url


@pytest.mark.parametrize(
    ("config", "answer", "is_image", "is_url"),
    [
        ('<Image name="o" value="$x"/><Number name="c" toName="o"/>', Answer.NUMBER, True, True),
        ('<Text name="o" value="$x"/><Choices name="c" toName="o"/>', Answer.CHOICE, False, False),
        (
            '<Text name="o" value="$x" valueType="url"/><Choices name="c" toName="o" choice="multiple"/>',
            Answer.CHOICES,
            False,
            True,
        ),
        (
            # A control of regions, one of another object, and the one that is meant.
            '<Choices name="r" toName="o" perRegion="true"/><Choices name="a" toName="audio"/>'
            '<Choices name="c" toName="o,p"/><Image name="o" value="$x"/>',
            Answer.CHOICE,
            True,
            True,
        ),
    ],
)
def test_the_first_control_of_a_whole_image_or_text(
    config: str, answer: Answer, is_image: bool, is_url: bool
) -> None:
    labeling = labeling_of(f"<View>{config}</View>")
    assert (labeling.control, labeling.shown, labeling.key) == ("c", "o", "x")
    assert (labeling.answer, labeling.is_image, labeling.is_url) == (answer, is_image, is_url)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "no configuration"),
        ("", "no configuration"),
        ({"a": 1}, "no configuration"),
        ("<View>", "The XML is malformed"),
        ("<View/>", "no such control"),
        ("\ud800", "The XML is malformed"),
        ('<View><Image name="o" value="$x"/></View>', "no such control"),
        (
            '<View><Image name="o" value="$x"/><RectangleLabels name="c" toName="o"/></View>',
            "no such control",
        ),
        ('<View><Image name="o" value="x.png"/><Choices name="c" toName="o"/></View>', "x.png"),
        ("<a>" * MAX_CONFIG_BYTES, "at most"),
    ],
)
def test_other_configurations_are_refused_with_what_is_expected(config: object, said: str) -> None:
    with pytest.raises(InvalidField, match=said) as caught:
        labeling_of(config)
    assert caught.value.field == "label_config"


def test_entities_are_not_expanded() -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    config = f'<!DOCTYPE View [<!ENTITY e0 "ha">{entities}]><View>&e11;</View>'
    began = time.perf_counter()
    with pytest.raises(InvalidField, match="document type"):
        labeling_of(config)
    assert time.perf_counter() - began < 1


def result(kind: str = "choices", name: str = "which", **value: object) -> dict[str, object]:
    return {"id": "abc", "from_name": name, "to_name": "img", "type": kind, "value": value}


def test_the_label_of_an_annotation() -> None:
    labeling = labeling_of(CHOICES)
    other = result(name="other", choices=["dog"])
    assert labeling.label_of([other, result(choices=["cat"])]) == label_pb2.Label(class_name="cat")
    assert labeling.label_of([other]) is None
    assert labeling.label_of([]) is None
    assert region_ids([other, result(choices=["cat"])], labeling) == ["abc"]


def test_any_number_of_classes_of_an_annotation() -> None:
    labeling = labeling_of(CHOICES.replace("single-radio", "multiple"))
    both = label_pb2.Label(classes=label_pb2.LabelSet(class_names=["dog", "cat"]))
    assert labeling.label_of([result(choices=["dog", "cat", "dog"])]) == both
    # Submitted without a choice: no class applies.
    assert labeling.label_of([]) == label_pb2.Label(classes=label_pb2.LabelSet())


def test_the_number_of_an_annotation() -> None:
    labeling = labeling_of('<View><Image name="img" value="$x"/><Number name="n" toName="img"/></View>')
    assert labeling.label_of([result("number", "n", number=2.5)]) == label_pb2.Label(number=2.5)
    assert labeling.label_of([result("number", "n", number=10**400)]) == label_pb2.Label(number=math.inf)
    assert labeling.label_of([result("number", "n", number="2.5")]) is None
    assert labeling.label_of([result("number", "n", number=True)]) is None


@pytest.mark.parametrize("broken", [None, 3, "x", ["x"], [result(choices="cat")], [result(choices=[1])]])
def test_malformed_results_are_refused(broken: object) -> None:
    with pytest.raises(InvalidField):
        labeling_of(CHOICES).label_of(broken)
