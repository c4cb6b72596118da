"""Lists of versions in protocols without pages: their limit, and the work that they leave to threads."""

import threading
from typing import Any, cast

import pytest

from fakes import Publisher
from headstart_server.api.compat import compat_predictor, open_inference_service
from headstart_server.api.compat import open_inference_pb2 as oip
from headstart_server.api.compat import tensorflow_serving_pb2 as tfs
from headstart_server.api.compat.open_inference_service import OpenInferenceService
from headstart_server.api.compat.tensorflow_model_service import TensorFlowModelService
from headstart_server.api.grpc.executors import BoundedExecutor
from headstart_server.errors import BackboneNotFound, MessageTooLarge
from headstart_server.models.version import Selector
from headstart_server.prediction.statistics import StageTimes, Statistics

CONTEXT = cast("Any", None)


class Predictor:
    """Finds versions by number, and counts calls."""

    def __init__(self) -> None:
        self.statistics = Statistics()

    async def number(self, selector: Selector) -> int:
        return selector.number or 1


class Pool:
    """Has no backbone."""

    def loaded(self, name: str) -> None:
        return None

    def problem(self, name: str) -> str:
        return f"There is no backbone '{name}'."

    def get(self, name: str) -> Any:
        raise BackboneNotFound(self.problem(name))


class Server:
    """The services of a server with three versions of one model."""

    def __init__(self, publisher: Publisher) -> None:
        self.numbers = [publisher.publish("pets") for _ in range(3)]
        self.predictor, self.index = Predictor(), publisher.registry.index
        arguments: Any = (publisher.registry, Pool(), BoundedExecutor(1))
        self.inference = OpenInferenceService(cast("Any", self.predictor), *arguments)
        self.tensorflow = TensorFlowModelService(*arguments)

    async def listed(self, name: str) -> int:
        """Return the number of versions in a response."""
        if name == "RepositoryIndex":
            return len((await self.inference.RepositoryIndex(oip.RepositoryIndexRequest(), CONTEXT)).models)
        if name == "ModelStatistics":
            return len((await self.statistics("pets")).model_stats)
        spec = tfs.GetModelStatusRequest(model_spec=tfs.ModelSpec(name="pets"))
        return len((await self.tensorflow.GetModelStatus(spec, CONTEXT)).model_version_status)

    async def statistics(self, name: str = "", version: str = "") -> Any:
        request = oip.ModelStatisticsRequest(name=name, version=version)
        return await self.inference.ModelStatistics(request, CONTEXT)


@pytest.fixture
def server(publisher: Publisher) -> Server:
    return Server(publisher)


@pytest.mark.parametrize("name", ["RepositoryIndex", "ModelStatistics", "GetModelStatus"])
async def test_a_list_of_too_many_versions_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(compat_predictor, "MAX_VERSIONS", 3)
    assert await server.listed(name) == 3
    monkeypatch.setattr(compat_predictor, "MAX_VERSIONS", 2)
    with pytest.raises(MessageTooLarge, match=r"more than 2 versions.*ListVersions"):
        await server.listed(name)


async def test_the_versions_of_a_model_are_read_once_for_all_its_statistics(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were read for each version, in the event loop: 6 seconds for 10,000 versions of one model."""
    read = []
    numbers = server.index.numbers
    monkeypatch.setattr(server.index, "numbers", lambda model: read.append(model) or numbers(model))
    for number in (*server.numbers, 99):
        server.predictor.statistics.answered("pets", number, 2, StageTimes())
    server.predictor.statistics.answered("gone", 1, 1, StageTimes())

    found = (await server.statistics()).model_stats

    assert [(each.name, each.version, each.inference_count) for each in found] == [
        ("pets", str(number), 2) for number in server.numbers
    ]
    assert sorted(read) == ["gone", "pets"]


async def test_statistics_are_encoded_outside_of_the_event_loop(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()
    message = open_inference_service.statistics_message

    def encoded(*arguments: Any) -> Any:
        threads.add(threading.current_thread() is threading.main_thread())
        return message(*arguments)

    monkeypatch.setattr(open_inference_service, "statistics_message", encoded)
    assert len((await server.statistics("pets")).model_stats) == 3
    assert threads == {False}
