"""The backend that Keras runs on."""

import importlib.util

import pytest

from headstart_server.backbones.contract.runtimes import RuntimeKind, RuntimeSettings, keras_backend


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The packages that are found; a test adds to them."""
    names: set[str] = set()
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in names or None)
    return names


def test_it_is_the_first_that_is_installed(installed: set[str]) -> None:
    assert keras_backend() is None
    installed.add("torch")
    assert keras_backend() == "torch"
    installed.add("jax")
    assert keras_backend() == "jax"
    installed.add("tensorflow")
    assert keras_backend() == "tensorflow"


def test_the_environment_decides(installed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    installed |= {"tensorflow", "jax"}
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert keras_backend() == "jax"


def test_keras_without_a_backend_runs_nothing(installed: set[str]) -> None:
    installed |= {"keras", "openvino"}
    assert RuntimeSettings().settled().kind is RuntimeKind.OPENVINO
    installed.remove("openvino")
    assert RuntimeSettings().settled().kind is RuntimeKind.OPENVINO
    installed.add("jax")
    assert RuntimeSettings().settled().kind is RuntimeKind.KERAS
