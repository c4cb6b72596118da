"""How many serving processes a server has."""

import pytest

from fakes import settings_of
from headstart_server.app import supervise
from headstart_server.app.supervise import process_count


@pytest.mark.parametrize(
    ("cores", "gpu", "count"),
    [(1, False, 1), (8, False, 1), (16, False, 2), (96, False, 8), (2, True, 1), (16, True, 8)],
)
def test_auto_counts_cores(monkeypatch: pytest.MonkeyPatch, cores: int, gpu: bool, count: int):
    monkeypatch.setattr(supervise, "available_cores", lambda: cores)
    monkeypatch.setattr(supervise, "has_gpu", lambda: gpu)
    assert process_count(settings_of(processes="auto")) == count


def test_a_server_is_one_process_unless_settings_say_otherwise():
    assert process_count(settings_of()) == 1
    assert process_count(settings_of(processes=3)) == 3
