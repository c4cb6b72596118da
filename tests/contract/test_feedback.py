"""Feedback with the client and the command, and `headstart review` in a real terminal."""

import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import grpc
import numpy as np
import pyte
import pytest
from PIL import Image
from typer.testing import CliRunner

from contract import fake_server as fake
from contract.fake_server import FakeServer, Fault
from headstart import (
    AsyncClient,
    Client,
    FeedbackOutcome,
    FeedbackState,
    PromotionGate,
    RetrainPolicy,
    RetrainState,
    UnknownClasses,
)
from headstart.cli.app import app
from headstart.v1 import (
    capture_policy_pb2,
    feedback_pb2,
    input_pb2,
    model_pb2,
    model_service_pb2,
    retrain_policy_pb2,
)
from headstart.v1 import review_service_pb2 as pb

COMMAND = [sys.executable, "-m", "headstart"]


def feedback(name: str = "f1", **fields: object) -> feedback_pb2.Feedback:
    return feedback_pb2.Feedback(
        **{
            "feedback_id": name,
            "model": "pets",
            "state": feedback_pb2.FEEDBACK_STATE_PENDING,
            "answer": feedback_pb2.FEEDBACK_ANSWER_LABEL,
            "label": {"class_name": "cat"},
            **fields,
        }
    )


def sent(outcome: int = feedback_pb2.FEEDBACK_OUTCOME_ACCEPTED) -> feedback_pb2.SendFeedbackResponse:
    return feedback_pb2.SendFeedbackResponse(feedback=feedback(), outcome=outcome)


@pytest.fixture
def run(server: FakeServer):
    def run(*arguments, code=0):
        result = CliRunner().invoke(app, ["--server", server.target, *map(str, arguments)])
        assert result.exit_code == code, result.output + result.stderr
        return result

    return run


def test_each_answer_is_sent(server: FakeServer, client: Client) -> None:
    server.standing["SendFeedback"] = sent()
    pets = client.model("pets")

    result = pets.send_feedback("p1", label="cat")
    pets.send_feedback("p1", label=["cat", "dog"])
    pets.send_feedback("p1", label=2.5)
    pets.send_feedback("p1", confirmed=True)
    pets.send_feedback("p1", rejected=True, request_id="mine")
    pets.send_feedback(input=b"\x89PNG", label="cat", version=3)

    assert result.outcome is FeedbackOutcome.ACCEPTED
    assert (result.feedback.label, result.feedback.state) == ("cat", FeedbackState.PENDING)
    one, several, number, confirmed, rejected, image = server.requests["SendFeedback"]
    assert (one.model, one.prediction_id, one.label.class_name) == ("pets", "p1", "cat")
    assert several.label.classes.class_names == ["cat", "dog"]
    assert number.label.number == 2.5
    assert confirmed.confirmed
    assert (rejected.rejected, rejected.request_id) == (True, "mine")
    assert (image.input.image, image.version) == (b"\x89PNG", 3)
    assert len({each.request_id for each in server.requests["SendFeedback"]}) == 6


async def test_zero_is_a_label(server: FakeServer, client: Client, run) -> None:
    server.keep(model_pb2.Version(model="prices", version=2, task=input_pb2.TASK_REGRESSION))
    server.standing["SendFeedback"] = sent()

    client.send_feedback("prices", "p1", label=0.0)
    async with AsyncClient(server.target) as other:
        await other.send_feedback("prices", "p1", label=-0.0, confirmed=False)
    run("feedback", "send", "prices", "p1", "--label", "0")

    requests = server.requests["SendFeedback"]
    assert [(each.label.WhichOneof("value"), each.label.number) for each in requests] == [("number", 0.0)] * 3


def test_a_repeated_call_has_the_same_request_id(server: FakeServer, client: Client) -> None:
    server.script("SendFeedback", Fault(code=grpc.StatusCode.UNAVAILABLE), sent())
    client.send_feedback("pets", "p1", label="cat")
    first, second = server.requests["SendFeedback"]
    assert first.request_id == second.request_id != ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "prediction_id or an input"),
        ({"prediction_id": "p", "input": "text", "label": "cat"}, "prediction_id or an input"),
        ({"prediction_id": "p"}, "one of label"),
        ({"prediction_id": "p", "label": "cat", "confirmed": True}, "one of label"),
        ({"prediction_id": "p", "confirmed": True, "rejected": True}, "one of label"),
    ],
)
def test_contradicting_arguments_are_named(client: Client, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        client.send_feedback("pets", **arguments)


def test_feedback_is_listed_over_pages(server: FakeServer, client: Client) -> None:
    server.script(
        "ListFeedback",
        feedback_pb2.ListFeedbackResponse(feedback=[feedback("f2")], next_page_token="next"),
        feedback_pb2.ListFeedbackResponse(feedback=[feedback("f1", learned_version=3)]),
    )
    newest, oldest = client.feedback("pets", states=["pending", FeedbackState.LEARNED])
    assert (newest.feedback_id, oldest.learned_version) == ("f2", 3)
    first, second = server.requests["ListFeedback"]
    assert first.states == [feedback_pb2.FEEDBACK_STATE_PENDING, feedback_pb2.FEEDBACK_STATE_LEARNED]
    assert second.page_token == "next"
    with pytest.raises(ValueError, match="learned, pending, recorded"):
        list(client.feedback("pets", states=["lost"]))


def test_json_of_a_list_has_no_more_than_the_limit(server: FakeServer, run) -> None:
    listed = [feedback(f"f{number}") for number in range(5)]
    server.standing["ListFeedback"] = feedback_pb2.ListFeedbackResponse(feedback=listed)

    document = json.loads(run("feedback", "list", "pets", "--limit", 2, "--json").stdout)

    assert [each["feedbackId"] for each in document["feedback"]] == ["f0", "f1"]


def summary() -> feedback_pb2.GetFeedbackSummaryResponse:
    statistics = feedback_pb2.FeedbackStatistics(
        answer_count=30, correct_count=27, sample_count=20, accuracy=0.9, accuracy_low=0.7, accuracy_high=0.97
    )
    return feedback_pb2.GetFeedbackSummaryResponse(
        total=statistics,
        versions=[feedback_pb2.VersionFeedback(version=2, statistics=statistics)],
        counts=[feedback_pb2.FeedbackCount(state=feedback_pb2.FEEDBACK_STATE_PENDING, count=4)],
        retrain=feedback_pb2.RetrainStatus(
            state=feedback_pb2.RETRAIN_STATE_BACKING_OFF, failure_count=2, error="No space."
        ),
    )


async def test_the_summary_of_both_clients(server: FakeServer, client: Client) -> None:
    server.standing["GetFeedbackSummary"] = summary()
    found = client.feedback_summary("pets", window=timedelta(days=7))
    assert (found.total.accuracy, found.versions[0].version) == (0.9, 2)
    assert found.retrain is not None
    assert found.retrain.state is RetrainState.BACKING_OFF
    assert server.requests["GetFeedbackSummary"][0].window_duration.seconds == 7 * 86400
    async with AsyncClient(server.target) as other:
        assert await other.model("pets").feedback_summary() == found
        server.standing["SendFeedback"] = sent()
        assert (await other.send_feedback("pets", "p1", confirmed=True)).feedback.feedback_id == "f1"
        server.standing["ListFeedback"] = feedback_pb2.ListFeedbackResponse(feedback=[feedback()])
        assert [each.feedback_id async for each in other.model("pets").feedback()] == ["f1"]


def test_an_alias_to_retrain_that_does_not_exist_is_noted(server: FakeServer, run) -> None:
    for alias in ("stable", "stabel"):
        policy = retrain_policy_pb2.RetrainPolicy(alias=alias, min_feedback_count=5)
        server.standing["UpdateModel"] = model_service_pb2.UpdateModelResponse(
            model=fake.model(retrain=policy)
        )
        shown = run("model", "retrain", "pets", "--alias", alias, "--min-feedback", "5").stdout
        note = "pets has no alias stabel. Existing aliases: stable."
        assert (note in shown) == (alias == "stabel")


def test_a_retrain_policy_is_set_read_and_removed(server: FakeServer, client: Client) -> None:
    policy = RetrainPolicy(
        alias="stable",
        min_feedback_count=20,
        max_delay_duration=timedelta(hours=1),
        min_interval_duration=timedelta(minutes=5),
        promote_if=PromotionGate(max_drop=0.02),
        unknown_classes=UnknownClasses.REJECT,
    )
    stored = model_pb2.Model(
        model="pets",
        retrain=retrain_policy_pb2.RetrainPolicy(
            alias="stable",
            min_feedback_count=20,
            max_delay_duration=timedelta(hours=1),
            min_interval_duration=timedelta(minutes=5),
            promote_if={"max_drop": 0.02},
            unknown_classes=retrain_policy_pb2.UNKNOWN_CLASSES_REJECT,
        ),
    )
    server.standing["UpdateModel"] = model_service_pb2.UpdateModelResponse(model=stored)
    assert client.update_model("pets", retrain=policy).retrain == policy
    client.update_model("pets", retrain=None)
    request, removal = server.requests["UpdateModel"]
    assert request.retrain == stored.retrain
    assert request.update_mask.paths == ["retrain"]
    assert removal.update_mask.paths == ["retrain"]
    assert not removal.HasField("retrain")


def test_the_commands(server: FakeServer, run, tmp_path) -> None:
    server.keep(model_pb2.Version(model="pets", version=2, task=input_pb2.TASK_SINGLE_LABEL))
    server.standing["SendFeedback"] = sent()
    server.standing["ListFeedback"] = feedback_pb2.ListFeedbackResponse(feedback=[feedback()])
    server.standing["GetFeedbackSummary"] = summary()
    image = tmp_path / "cat.png"
    image.write_bytes(b"\x89PNG")

    assert "Accepted: feedback f1, pending" in run("feedback", "send", "pets", "p1", "--label", "cat").stdout
    run("feedback", "send", "pets", "--input", image, "--label", "cat")
    run("feedback", "send", "pets", "p1", "--rejected")
    assert "cat" in run("feedback", "list", "pets", "--state", "pending").stdout
    assert run("feedback", "list", "pets", "-o", "name").stdout == "f1\n"
    shown = run("feedback", "summary", "pets").stdout
    for part in ("90.0% (70.0% to 97.0%)", "4 pending", "backing off", "2 failed: No space."):
        assert part in shown
    by_id, by_file, rejected = server.requests["SendFeedback"]
    assert (by_id.label.class_name, by_file.input.image, rejected.rejected) == ("cat", b"\x89PNG", True)


def test_the_durations_of_policies_are_readable(server: FakeServer, run) -> None:
    stored = model_pb2.Model(
        model="pets",
        retrain=retrain_policy_pb2.RetrainPolicy(
            alias="stable", min_interval_duration=timedelta(0), max_delay_duration=timedelta(days=7)
        ),
        capture=capture_policy_pb2.CapturePolicy(random_fraction=0.5, ttl=timedelta(days=30)),
    )
    server.standing["UpdateModel"] = model_service_pb2.UpdateModelResponse(model=stored)

    shown = run("model", "retrain", "pets", "--alias", "stable", "--min-interval", "0s").stdout
    facts = {" ".join(line.split()) for line in shown.splitlines()}
    assert {"at most every 0 s", "after the first one 7 d"} <= facts
    assert ", 30 d" in run("model", "capture", "pets", "--random", "0.5").stdout


def test_feedback_on_texts_and_rows(server: FakeServer, run, tmp_path) -> None:
    server.keep(model_pb2.Version(model="reviews", version=2, task=input_pb2.TASK_SINGLE_LABEL))
    server.standing["SendFeedback"] = sent()
    (tmp_path / "review.txt").write_text("A joy.", encoding="utf-8")
    np.save(tmp_path / "row.npy", np.array([1.0, 2.0]))

    run("feedback", "send", "reviews", "--text", "A joy.", "--label", "liked")
    run("feedback", "send", "reviews", "--input", tmp_path / "review.txt", "--label", "liked")
    run("feedback", "send", "reviews", "--input", tmp_path / "row.npy", "--label", "liked")

    text, file, row = (request.input for request in server.requests["SendFeedback"])
    assert (text.text, file.text) == ("A joy.", "A joy.")
    assert list(row.tensor.shape) == [2]


def test_feedback_without_its_subject_or_answer_is_refused(run) -> None:
    for arguments in (["--label", "cat"], ["p1", "--text", "A joy.", "--label", "cat"]):
        said = run("feedback", "send", "pets", *arguments, code=2).stderr
        assert "Give the ID of a prediction, --input FILE or --text TEXT" in said
    for answers in ([], ["--confirmed", "--label", "cat"]):
        said = run("feedback", "send", "pets", "p1", *answers, code=2).stderr
        assert "Give one of --label, --confirmed and --rejected" in said
    assert "Give --random, --margin" in run("model", "capture", "pets", code=2).stderr


def test_labels_that_do_not_fit_are_refused(server: FakeServer, run) -> None:
    server.keep(model_pb2.Version(model="pets", version=2, task=input_pb2.TASK_REGRESSION))
    assert "numbers" in run("feedback", "send", "pets", "p1", "--label", "cat", code=2).stderr
    said = run("feedback", "send", "pets", "p1", "--label", "1", "--label", "2", code=2).stderr
    assert "Give --label once" in said
    assert "--alias or --off" in run("model", "retrain", "pets", code=2).stderr


def test_a_review_without_a_terminal_is_refused(server: FakeServer, run) -> None:
    assert "needs a terminal" in run("review", "pets", code=2).stderr


def jpeg() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 40)).save(content, "JPEG")
    return content.getvalue()


def entry(name: str) -> pb.ReviewEntry:
    captured = pb.CapturedInput(
        model="pets",
        prediction_id=name,
        version=2,
        predicted={"class_name": "dog"},
        classes=[{"name": "dog", "probability": 0.55}, {"name": "cat", "probability": 0.45}],
        media_type="image/jpeg",
    )
    return pb.ReviewEntry(captured_input=captured, reason=pb.REVIEW_REASON_UNCERTAIN, margin=0.1)


class Terminal:
    """A terminal with a program in it: a pseudo-terminal, and what is on its screen."""

    def __init__(self, *arguments: str, is_sized: bool = True) -> None:
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)
        self._lock = threading.Lock()
        self._end, program = pty.openpty()
        size = (24, 80) if is_sized else (0, 0)
        fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=program,
            stdout=program,
            stderr=program,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        self.before = termios.tcgetattr(program)
        self.program = program
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        # A terminal whose program has ended reports EIO.
        with suppress(OSError):
            while data := os.read(self._end, 65536):
                with self._lock:
                    self._stream.feed(data)

    @property
    def text(self) -> str:
        with self._lock:
            return "\n".join(self.screen.display)

    def shows(self, text: str) -> None:
        deadline = time.monotonic() + 90
        while text not in self.text:
            assert time.monotonic() < deadline, f"{text!r} is not on the screen:\n{self.text}"
            # Often enough for a person, and seldom enough for the thread that reads.
            time.sleep(0.1)

    def press(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait(30)
        os.close(self.program)
        self._reader.join(30)
        os.close(self._end)


@contextmanager
def terminal(*arguments: str, is_sized: bool = True) -> Iterator[Terminal]:
    opened = Terminal(*arguments, is_sized=is_sized)
    try:
        yield opened
    finally:
        opened.close()


def test_a_review_in_a_terminal(server: FakeServer) -> None:
    server.keep(
        model_pb2.Version(
            model="pets", version=2, task=input_pb2.TASK_SINGLE_LABEL, class_names=["cat", "dog"]
        )
    )
    server.standing["ListReview"] = pb.ListReviewResponse(entries=[entry(f"p{place}") for place in range(3)])
    server.standing["GetCapturedInput"] = pb.GetCapturedInputResponse(
        content=jpeg(), media_type="image/jpeg", captured_input=entry("p0").captured_input
    )
    server.standing["SendFeedback"] = sent()
    with terminal("--server", server.target, "review", "pets") as opened:
        opened.shows("input 1")
        for part in ("the version is uncertain (margin 0.10)", "1  cat", "2* dog", "55.0%", "▀"):
            opened.shows(part)
        opened.press("1")
        opened.shows("input 2 · 1 answered")
        opened.press(" ")
        opened.shows("input 3 · 2 answered")
        opened.press("\x7f")
        opened.shows("answered: correct")
        opened.press("c")
        opened.shows("class: ")
        opened.press("hamster\n")
        opened.shows("input 3")
        opened.press("q")
        assert opened.process.wait(60) == 0
        opened.shows("2 answers recorded")
        # The terminal edits lines again.
        assert termios.tcgetattr(opened.program)[3] == opened.before[3]
    answers = [(each.prediction_id, each.WhichOneof("answer")) for each in server.requests["SendFeedback"]]
    assert answers == [("p0", "label"), ("p1", "confirmed"), ("p1", "label")]
    assert server.requests["SendFeedback"][2].label.class_name == "hamster"
    assert server.requests["GetCapturedInput"][0].thumbnail_size == 512


def test_zero_is_typed_in_a_review(server: FakeServer) -> None:
    server.keep(model_pb2.Version(model="prices", version=2, task=input_pb2.TASK_REGRESSION))
    server.standing["ListReview"] = pb.ListReviewResponse(entries=[entry("p0")])
    server.standing["GetCapturedInput"] = pb.GetCapturedInputResponse(
        content=b"a text", media_type="text/plain"
    )
    server.standing["SendFeedback"] = sent()
    with terminal("--server", server.target, "review", "prices") as opened:
        opened.shows("a text")
        opened.press("c")
        opened.shows("number: ")
        opened.press("0\n")
        assert opened.process.wait(60) == 0
    (request,) = server.requests["SendFeedback"]
    assert request.label.WhichOneof("value") == "number"


def test_a_review_in_a_terminal_without_a_size(server: FakeServer) -> None:
    server.keep(model_pb2.Version(model="pets", version=2, task=input_pb2.TASK_SINGLE_LABEL))
    server.standing["ListReview"] = pb.ListReviewResponse(entries=[entry("p0")])
    server.standing["GetCapturedInput"] = pb.GetCapturedInputResponse(
        content=b"a text", media_type="text/plain"
    )
    with terminal("--server", server.target, "review", "pets", is_sized=False) as opened:
        opened.shows("a text")
        opened.press("q")
        assert opened.process.wait(60) == 0


def test_an_interrupted_review_restores_the_terminal(server: FakeServer) -> None:
    server.keep(model_pb2.Version(model="pets", version=2, task=input_pb2.TASK_SINGLE_LABEL))
    server.standing["ListReview"] = pb.ListReviewResponse(entries=[entry("p0")])
    server.standing["GetCapturedInput"] = pb.GetCapturedInputResponse(
        content=b"a text", media_type="text/plain"
    )
    with terminal("--server", server.target, "review", "pets") as opened:
        opened.shows("a text")
        opened.process.send_signal(2)
        assert opened.process.wait(60) != 0
        assert termios.tcgetattr(opened.program)[3] == opened.before[3]
