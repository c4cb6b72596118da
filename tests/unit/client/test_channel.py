from datetime import timedelta
from importlib import import_module
from pkgutil import iter_modules

import pytest

from headstart import v1
from headstart.transport.channel import TlsConfig, credentials, is_repeatable, service_config, target_uri
from headstart.transport.settings import connection_settings

FILES = [
    import_module(f"{v1.__name__}.{each.name}").DESCRIPTOR
    for each in iter_modules(v1.__path__)
    if each.name.endswith("_pb2")
]
SERVICES = {service.full_name: service for file in FILES for service in file.services_by_name.values()}
REPEATABLE = [
    "Predict",
    "Embed",
    "Rebase",
    "Status",
    "Cancel",
    "ListJobs",
    "ListModels",
    "GetModel",
    "GetVersion",
    "ListVersions",
    "GetTraffic",
    "ListAliasEvents",
    "ListBackbones",
    "GetEvaluation",
    "GetReport",
    "GetServerInfo",
    "WhoAmI",
    "GetUsage",
    "GetDataset",
    "ListDatasets",
    "ListExamples",
    "GetExampleContent",
    "GetExampleMap",
    "ListReview",
    "GetCaptureStatus",
    "GetCapturedInput",
    "ListFeedback",
    "GetFeedbackSummary",
]
#: Some of these are repeatable with certain requests; then `Call.repeatable` is set.
UNSAFE = [
    "CreateDataset",
    "WriteExamples",
    "FinishDataset",
    "UpdateDataset",
    "DeleteDataset",
    "SubmitFineTune",
    "DeleteJob",
    "SetAlias",
    "DeleteAlias",
    "DeleteVersion",
    "DeleteModel",
    "EraseExample",
    "UpdateVersion",
    "UpdateModel",
    "SendFeedback",
]
#: Uploads are restarted by `deliver`, watches by their cursors, and exports are not repeated.
STREAMS = ["FineTune", "Evaluate", "Compare", "Watch", "WatchJobs", "ExportVersion"]


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        ("localhost:8765", "dns:///localhost:8765"),
        ("[::1]:8765", "dns:///[::1]:8765"),
        ("dns:///headstart:8765", "dns:///headstart:8765"),
        ("unix:/run/headstart.sock", "unix:/run/headstart.sock"),
        ("ipv4:10.0.0.1:8765,10.0.0.2:8765", "ipv4:10.0.0.1:8765,10.0.0.2:8765"),
    ],
)
def test_a_plain_target_is_resolved_by_dns(target, uri):
    assert target_uri(target) == uri


def test_the_addresses_of_a_name_take_turns():
    assert service_config()["loadBalancingConfig"] == [{"round_robin": {}}]


def test_each_method_that_the_service_config_names_is_one_of_the_contract_s():
    for config in service_config()["methodConfig"]:
        for name in config["name"]:
            assert name["method"] in SERVICES[name["service"]].methods_by_name


def test_each_method_of_the_contract_is_repeatable_or_not():
    methods = [method for service in SERVICES.values() for method in service.methods]
    streams = [each.name for each in methods if each.client_streaming or each.server_streaming]
    repeatable = [
        each.name for each in methods if is_repeatable(f"/{each.containing_service.full_name}/{each.name}")
    ]

    assert sorted(repeatable) == sorted(REPEATABLE)
    assert sorted(streams) == sorted(STREAMS)
    assert sorted(each.name for each in methods) == sorted([*REPEATABLE, *UNSAFE, *STREAMS])


def test_a_method_of_this_name_elsewhere_is_not_repeatable():
    assert not is_repeatable("/other.v1.Service/Predict")


def test_without_tls_there_are_no_credentials():
    assert credentials(None) is None
    assert credentials(False) is None
    assert credentials(True) is not None


def test_a_certificate_without_its_key_is_refused():
    with pytest.raises(ValueError, match="requires both cert and key"):
        credentials(TlsConfig(cert=b"x"))


def test_a_certificate_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ca\.pem"):
        credentials(TlsConfig(ca=tmp_path / "ca.pem"))


def test_settings_come_in_many_forms():
    settings = connection_settings(
        "localhost:1",
        tls=None,
        timeout=timedelta(minutes=1),
        metadata={"X-A": "b"},
        token="t",
        retries=2,
    )

    assert settings.timeout == 60
    assert settings.retries.attempts == 3
    assert settings.metadata_with(settings.tokens.get()) == (("x-a", "b"), ("authorization", "Bearer t"))


@pytest.mark.parametrize(
    "target",
    [
        "localhost:8765",
        "127.0.0.1:8765",
        "[::1]:8765",
        "dns:///localhost:8765",
        "ipv4:127.0.0.1:8765,127.0.0.2:8765",
        "ipv6:[::1]:8765",
        "unix:/run/headstart.sock",
    ],
)
def test_a_token_may_go_to_this_machine_in_plain_text(target):
    sent = connection_settings(target, tls=None, timeout=None, metadata=None, token="t", retries=0)
    assert sent.tokens.get() == "t"


@pytest.mark.parametrize(
    "target",
    [
        "headstart:8765",
        "10.0.0.1:8765",
        "localhost.example:8765",
        "127.0.0.1.example:8765",
        "dns:///headstart:8765",
        "dns://127.0.0.1/headstart:8765",
        "ipv4:127.0.0.1:8765,10.0.0.1:8765",
        "[2001:db8::1]:8765",
        "xds:///headstart",
    ],
)
def test_a_token_leaves_this_machine_over_tls_only(target):
    arguments = {"timeout": None, "metadata": None, "token": "t", "retries": 0}
    with pytest.raises(ValueError, match="A token requires TLS"):
        connection_settings(target, tls=None, **arguments)
    assert connection_settings(target, tls=True, **arguments).credentials is not None
