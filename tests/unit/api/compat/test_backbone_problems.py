"""Why a backbone is unavailable: for the operator, and in other protocols not for the callers of tenants."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from fakes import FakeBackbone, FakeSource, ManualClock, Publisher
from headstart_server.api.compat import open_inference_pb2 as oip
from headstart_server.api.compat import tensorflow_serving_pb2 as tfs
from headstart_server.api.compat.compat_predictor import CompatPredictor
from headstart_server.api.compat.open_inference_service import OpenInferenceService
from headstart_server.api.compat.tensorflow_model_service import TensorFlowModelService
from headstart_server.api.grpc.caller import set_caller
from headstart_server.api.grpc.executors import BoundedExecutor
from headstart_server.auth.authenticator import Caller
from headstart_server.auth.permissions import UNRESTRICTED, Grant, Principal, Right
from headstart_server.auth.tenants import full_name
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.prediction.predictor import Predictor
from headstart_server.prediction.version_resolver import VersionResolver

PREDICTING = (Grant(rights=frozenset({Right.PREDICT}), models=("*",)),)
ADMIN = (Grant(rights=frozenset({Right.ADMIN}), models=("*",)),)
TENANT = Principal(name="tenant-admin", tenant="shop", grants=ADMIN)
READER = Principal(name="reader", grants=PREDICTING)
OPERATOR = Principal(name="operator", grants=ADMIN)


class Protocols:
    """The services of other protocols, with a version whose backbone cannot be loaded."""

    def __init__(self, folder: Path) -> None:
        self.publisher = Publisher(folder, ManualClock())
        for model in ("pets", "shop/pets"):
            self.publisher.publish(model, backbone="lost")
        source = FakeSource(FakeBackbone("lost"))
        source.before_load = self._fail
        pool = BackbonePool(source, Mock(), "lost", clock=ManualClock())
        with pytest.raises(OSError, match="secret"):
            pool.load("lost")
        registry = self.publisher.registry
        versions = VersionResolver(registry, set().__contains__)
        predictor = Predictor(versions, pool, max_inputs=8, max_input_bytes=100)
        executor = BoundedExecutor(1)
        self._inference = OpenInferenceService(CompatPredictor(predictor), registry, pool, executor)
        self._models = TensorFlowModelService(registry, pool, executor)

    async def messages(self, principal: Principal) -> list[str]:
        """Return what a caller reads about its version in each kind of response."""
        model = full_name(principal.tenant, "pets")
        set_caller(Caller(principal=principal))
        context: Any = Mock(invocation_metadata=tuple, time_remaining=lambda: None)
        index = await self._inference.RepositoryIndex(oip.RepositoryIndexRequest(), context)
        request = tfs.GetModelStatusRequest(model_spec={"name": model})
        status = await self._models.GetModelStatus(request, context)
        streamed = [each async for each in self._inference.ModelStreamInfer(_requests(model), context)]
        return [
            *(each.reason for each in index.models if each.name == model),
            *(each.status.error_message for each in status.model_version_status),
            *(each.error_message for each in streamed),
        ]

    @staticmethod
    def _fail(name: str) -> None:
        raise OSError(2, f"/secret/networks/{name}.onnx")


async def _requests(model: str) -> AsyncIterator[oip.ModelInferRequest]:
    yield oip.ModelInferRequest(model_name=model)


@pytest.fixture
def protocols(tmp_path: Path) -> Iterator[Protocols]:
    protocols = Protocols(tmp_path)
    yield protocols
    protocols.publisher.close()


@pytest.mark.parametrize("principal", [TENANT, READER])
async def test_other_callers_do_not_see_why_a_backbone_is_unavailable(
    protocols: Protocols, principal: Principal
) -> None:
    expected = "Backbone 'lost' is unavailable. The log of the server has the reason."
    assert await protocols.messages(principal) == [expected] * 3


@pytest.mark.parametrize("principal", [OPERATOR, UNRESTRICTED])
async def test_the_operator_sees_why_a_backbone_is_unavailable(
    protocols: Protocols, principal: Principal
) -> None:
    messages = await protocols.messages(principal)
    assert len(messages) == 3
    assert all("/secret/networks/lost.onnx" in message for message in messages)
