"""An app and where its backbones come from."""

import asyncio
import threading
from pathlib import Path

from fakes import PATIENCE, FakeBackbone, FakeSource
from headstart_server.app.lifecycle import App
from headstart_server.errors import Draining
from headstart_server.settings.setting import Off
from headstart_server.settings.settings import Settings


def settings(folder: Path) -> Settings:
    return Settings.of(data_dir=folder / "data", default_backbone="mine", port=0, metrics_port=Off.OFF)


async def test_an_app_loads_the_backbone_of_the_source_it_is_given(tmp_path: Path):
    source = FakeSource(FakeBackbone("mine"))
    app = App(
        Settings.of(data_dir=tmp_path / "data", default_backbone="mine", port=0, metrics_port=Off.OFF), source
    )
    stop = asyncio.Event()
    # The event is set by the load itself: the app stops once it is warm.
    loop = asyncio.get_running_loop()
    source.before_load = lambda name: loop.call_soon_threadsafe(stop.set)

    await app.run(stop)

    assert [info.name for info in app.objects.pool.all_metadata()] == ["mine"]
    assert source.loads == ["mine"]


async def test_a_stop_ends_the_first_preparation_of_the_default_backbone(tmp_path: Path):
    source = FakeSource(FakeBackbone("mine"))
    app = App(
        Settings.of(data_dir=tmp_path / "data", default_backbone="mine", port=0, metrics_port=Off.OFF), source
    )
    stop, ended = asyncio.Event(), threading.Event()
    source.on_close = ended.set
    loop = asyncio.get_running_loop()

    def prepare(name: str) -> None:
        loop.call_soon_threadsafe(stop.set)
        assert ended.wait(PATIENCE)
        raise Draining("The server is stopping.")

    source.before_load = prepare

    await app.run(stop)

    assert ended.is_set()
