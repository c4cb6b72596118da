"""The end of a bucket's outage is noticed even if no call needs the bucket."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import FakeBackbone, FakeSource
from headstart_server.app.lifecycle import App
from headstart_server.app.maintenance import Maintenance
from headstart_server.errors import StorageUnavailable
from headstart_server.settings.settings import Settings
from s3 import Fault, S3Server


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3.bucket()


@pytest.fixture
def app(bucket: str, tmp_path: Path) -> Iterator[App]:
    settings = Settings.of(data_dir=tmp_path, artifacts=f"s3://{bucket}/prefix", default_backbone="mine")
    app = App(settings, FakeSource(FakeBackbone("mine")))
    yield app
    app.close()


def available(app: App) -> float | None:
    return app.objects.telemetry.registry.get_sample_value("headstart_storage_available")


def test_the_gauge_is_1_again_after_the_next_cleaning(app: App, s3: S3Server) -> None:
    maintenance = Maintenance(app.objects)
    # Everything that is cleaned once an hour is.
    maintenance.clean()
    assert available(app) == 1
    with s3.proxy.failing(Fault.AWAY):
        with pytest.raises(StorageUnavailable):
            app.objects.roots.versions.names()
        maintenance.clean()
        assert available(app) == 0
    assert available(app) == 0
    maintenance.clean()
    assert available(app) == 1
