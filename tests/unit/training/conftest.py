"""Fake backbones stand for Keras, so these tests run where it is not installed."""

import pytest

from headstart_server.training import candidates


@pytest.fixture(autouse=True)
def keras_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "training_missing", lambda purpose: None)
