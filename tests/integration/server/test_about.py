"""The server describes itself, its caller and what is stored, over gRPC and HTTP."""

import json
import urllib.request
from importlib.metadata import version
from typing import Any

import grpc
import pytest

from headstart.v1 import model_pb2, model_service_pb2
from headstart.v1 import server_service_pb2 as pb
from integration.server.calls import TIMEOUT, Api, digit, digits
from server_process import ServerProcess


@pytest.fixture(scope="module")
def url(server: ServerProcess) -> str:
    return f"http://{server.event('http_listening')}"


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        return json.loads(answer.read())


def test_the_server_describes_its_release_limits_features_and_defaults(api: Api, url: str):
    info = api.about.GetServerInfo(pb.GetServerInfoRequest(), timeout=TIMEOUT).info

    assert info.release == version("headstart")
    assert (info.limits.message_bytes, info.limits.input_bytes) == ((8 << 20) * 4 // 3 + (1 << 20), 8 << 20)
    assert not info.limits.HasField("versions_per_model")
    on = {pb.Feature.Name(number) for number in info.features}
    assert {"FEATURE_HTTP", "FEATURE_WEBHOOKS", "FEATURE_DATASET_URIS", "FEATURE_REFLECTION"} <= on
    assert "FEATURE_AUTHENTICATION" not in on
    assert model_service_pb2.EXPORT_FORMAT_OPENVINO in info.export_formats
    defaults = {each.modality: each.backbone for each in info.default_backbones}
    assert defaults[model_pb2.MODALITY_IMAGE] == "efficientnet-lite0"
    assert get(f"{url}/v1/server")["info"]["release"] == info.release


def test_a_request_at_a_stated_limit_is_accepted_and_one_above_it_is_not(api: Api, digits_model: str):
    limits = api.about.GetServerInfo(pb.GetServerInfoRequest(), timeout=TIMEOUT).info.limits
    image = digit(0, 0)

    assert len(api.predict(digits_model, *[image] * limits.inputs).results[0].predictions) == limits.inputs
    with pytest.raises(grpc.RpcError) as refused:
        api.predict(digits_model, *[image] * (limits.inputs + 1))
    assert refused.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)


def test_without_an_access_file_every_caller_may_do_everything(api: Api, url: str):
    caller = api.about.WhoAmI(pb.WhoAmIRequest(), timeout=TIMEOUT).caller

    assert not caller.authenticated
    assert (caller.principal, caller.tenant, caller.operator_access) == ("", "", True)
    (permission,) = caller.permissions
    assert list(permission.rights) == sorted(set(pb.Right.values()) - {pb.RIGHT_UNSPECIFIED})
    assert list(permission.models) == ["*"]
    assert get(f"{url}/v1/whoami")["caller"]["permissions"][0]["models"] == ["*"]


def test_usage_counts_versions_and_examples(api: Api, url: str, model: str):
    before = api.about.GetUsage(pb.GetUsageRequest(), timeout=TIMEOUT).usage
    api.published(digits((0, 1), 3), model=model)
    after = api.about.GetUsage(pb.GetUsageRequest(), timeout=TIMEOUT).usage

    assert after.version_count == before.version_count + 1
    assert after.version_bytes > before.version_bytes
    assert after.example_bytes > before.example_bytes
    assert not after.HasField("version_limit")
    assert int(get(f"{url}/v1/usage")["usage"]["versionCount"]) == after.version_count
