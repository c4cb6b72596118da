import pytest

from headstart.evidence import Abstention, make_evidence
from headstart.v1 import prediction_service_pb2 as pb


def request_for(*arguments) -> pb.PredictRequest:
    request = pb.PredictRequest()
    make_evidence(*arguments).write(request)
    return request


def test_nothing_is_requested_unless_it_is_wanted():
    assert request_for(None, 0, False) == pb.PredictRequest()
    assert request_for(False, 0, "") == pb.PredictRequest()


@pytest.mark.parametrize(
    ("abstain", "rate", "least"),
    [
        (True, None, 0),
        (0.01, 0.01, 0),
        (0, 0, 0),
        (Abstention(min_probability=0.75), None, 0.75),
        (Abstention(false_alarm_rate=0.25, min_probability=0.5), 0.25, 0.5),
    ],
)
def test_abstaining_is_a_switch_a_rate_or_both_its_settings(abstain, rate, least):
    request = request_for(abstain, 0, False)

    assert request.HasField("abstention")
    assert request.abstention.HasField("false_alarm_rate") == (rate is not None)
    assert request.abstention.false_alarm_rate == (rate or 0)
    assert request.abstention.min_probability == least


def test_influence_is_a_number_of_examples():
    request = pb.PredictRequest()
    make_evidence(None, 0, False, 5).write(request)
    assert request == pb.PredictRequest(influence=5)
    with pytest.raises(ValueError, match=r"influence must be 0 or more\. Received: -1"):
        make_evidence(None, 0, False, -1)


def test_saliency_is_of_the_likeliest_class_or_of_one_that_is_named():
    assert request_for(None, 0, True).saliency == pb.SaliencyRequest(overlay=True)
    assert request_for(None, 3, "cat") == pb.PredictRequest(
        neighbors=3, saliency=pb.SaliencyRequest(class_name="cat", overlay=True)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.6, 0, False), r"abstain must be a rate of false alarms from 0 to 0\.5\. Received: 0\.6"),
        ((Abstention(false_alarm_rate=-1), 0, False), r"Received: -1"),
        ((None, -1, False), r"neighbors must be 0 or more\. Received: -1"),
    ],
)
def test_what_is_out_of_its_range_is_refused_before_anything_is_sent(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_evidence(*arguments)
