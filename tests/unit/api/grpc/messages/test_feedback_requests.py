"""Feedback as a request sends it."""

import pytest

from headstart.v1 import feedback_pb2
from headstart_server.api.grpc.messages.feedback import sent_feedback_of
from headstart_server.errors import InvalidField


def test_the_id_of_a_prediction_without_capture_names_the_remedy() -> None:
    request = feedback_pb2.SendFeedbackRequest(model="pets", prediction_id="", confirmed=True)
    with pytest.raises(InvalidField, match=r"if the model has a capture policy.*send the input instead"):
        sent_feedback_of(request, "")
