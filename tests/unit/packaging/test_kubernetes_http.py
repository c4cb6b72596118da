"""HTTP in the manifests: off by default; with the component it is reachable in every overlay."""

import io
import itertools
import json
import re
import socket
import ssl
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from secrets import randbelow
from typing import Any

import psutil
import pytest
import yaml
from cryptography import x509

from certificates import identity
from headstart_server.api.http.routes import ROUTES
from headstart_server.auth.tokens import token_hash
from headstart_server.backbones.contract.runtimes import default_cache
from headstart_server.settings.settings import SETTINGS, Settings
from headstart_server.settings.sources import load
from integration.server.calls import digit
from server_process import ServerProcess
from unit.packaging.manifests import Document, copied, validate, with_http

OVERLAYS = ["cpu", "gpu", "cluster", "production"]
TOKEN = "a token of the test"
Build = Callable[[Path], list[Document]]


class Manifests:
    """The documents of an overlay."""

    def __init__(self, documents: list[Document]) -> None:
        self.documents = documents

    def of(self, kind: str) -> list[Document]:
        return [each for each in self.documents if each["kind"] == kind]

    def spec(self, kind: str) -> Document:
        [found] = self.of(kind)
        return found["spec"]

    @property
    def container(self) -> Document:
        [container] = self.spec("Deployment")["template"]["spec"]["containers"]
        return container

    @property
    def ports(self) -> dict[str, int]:
        """The ports of the container by name."""
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    def settings(self, secrets: dict[str, str]) -> dict[str, str]:
        """Return the variables that the pod adds to the image's."""
        maps = {each["metadata"]["name"]: each["data"] for each in self.of("ConfigMap")}
        found = {}
        for source in self.container["envFrom"]:
            if "secretRef" in source:
                assert source["secretRef"] == {"name": "headstart-cluster"}
                found |= secrets
            else:
                found |= maps[source["configMapRef"]["name"]]
        for each in self.container["env"]:
            source = each.get("valueFrom", {})
            if "value" in each:
                found[each["name"]] = each["value"]
            elif field := source.get("resourceFieldRef"):
                found[each["name"]] = self.container["resources"]["limits"][field["resource"].split(".")[1]]
            else:
                found[each["name"]] = secrets[source["secretKeyRef"]["key"]]
        return found


@pytest.fixture
def build(root: Path, tmp_path: Path, kustomize: Build) -> Callable[..., Manifests]:
    """Build an overlay, with or without HTTP."""

    def built(overlay: str, *, http: bool) -> Manifests:
        file = copied(root, tmp_path / f"{overlay}-{http}") / "overlays" / overlay / "kustomization.yaml"
        if http:
            content = yaml.safe_load(with_http(file.read_text()))
            taken = content.setdefault("components", [])
            if overlay in ("cpu", "gpu"):
                taken.append("../../components/http")
            assert "../../components/http" in taken
            file.write_text(yaml.safe_dump(content))
        return Manifests(kustomize(file.parent))

    return built


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_component_opens_the_port_of_the_setting_everywhere(
    overlay: str, build: Callable[..., Manifests], image: dict[str, str]
) -> None:
    manifests = build(overlay, http=True)

    for document in manifests.documents:
        validate(document)
    settings = manifests.settings({"HEADSTART_DATABASE": ""})
    tls = {name: settings.get(f"HEADSTART_{name.upper()}") for name in ("tls_cert", "tls_key")}
    assert tls == (
        {"tls_cert": "/tls/tls.crt", "tls_key": "/tls/tls.key"}
        if overlay == "production"
        else dict.fromkeys(tls)
    )
    config = Settings.of(
        host=image["HEADSTART_HOST"],
        http_port=int(settings["HEADSTART_HTTP_PORT"]),
        plaintext=settings["HEADSTART_PLAINTEXT"] == "true",
        **{name: Path(path) for name, path in tls.items() if path},
    )
    assert (config.server.host, config.server.http_port) == ("0.0.0.0", 8080)
    assert manifests.ports == {"grpc": 8765, "metrics": 9090, "http": 8080}
    services = manifests.of("Service")
    assert len(services) == (2 if overlay == "production" else 1)
    for service in services:
        # The component tls changes the first.
        assert service["spec"]["ports"][0]["name"] == "grpc"
        assert service["spec"]["ports"][-1] == {"name": "http", "port": 8080, "targetPort": "http"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_without_the_component_nothing_names_http(overlay: str, build: Callable[..., Manifests]) -> None:
    manifests = build(overlay, http=False)

    assert manifests.ports == {"grpc": 8765, "metrics": 9090}
    assert not any("HTTP_PORT" in name for each in manifests.of("ConfigMap") for name in each["data"])
    names = {port["name"] for each in manifests.of("Service") for port in each["spec"]["ports"]}
    assert names == {"grpc", "metrics"}
    assert manifests.of("HTTPRoute") == []


def test_callers_reach_http_as_they_reach_grpc_and_scrapers_do_not(build: Callable[..., Manifests]) -> None:
    rules = build("production", http=True).spec("NetworkPolicy")["ingress"]

    assert [
        (
            [tuple(each["namespaceSelector"]["matchLabels"]) for each in rule["from"]],
            [(port["port"], port["protocol"]) for port in rule["ports"]],
        )
        for rule in rules
    ] == [
        ([("headstart-caller",)], [("grpc", "TCP"), ("http", "TCP")]),
        ([("headstart-scraper",)], [("metrics", "TCP")]),
    ]


def passes(match: Document, path: str) -> bool:
    """Return whether an HTTPRoute with this match passes a path on."""
    kind, value = match["path"]["type"], match["path"]["value"]
    return path == value or (kind == "PathPrefix" and path.startswith(f"{value}/"))


def test_the_route_passes_on_every_path_of_the_contract_and_no_other(build: Callable[..., Manifests]) -> None:
    manifests = build("production", http=True)
    [rule] = manifests.spec("HTTPRoute")["rules"]

    paths = {re.sub(r"\{[^}]*\}", "x", each.path) for each in ROUTES}
    passed = {path for path in paths if any(passes(match, path) for match in rule["matches"])}
    assert paths - passed == {"/v1/health"}
    for path in ("/", "/openapi.json", "/v2", "/v1"):
        assert not any(passes(match, path) for match in rule["matches"])
    # Events and exports may take minutes.
    assert rule["timeouts"] == {"request": "0s"}
    # A listener accepts only one kind of route for a host.
    hosts = [set(manifests.spec(kind)["hostnames"]) for kind in ("HTTPRoute", "GRPCRoute")]
    assert not hosts[0] & hosts[1]


def test_the_gateway_reaches_the_route_s_service_with_tls(build: Callable[..., Manifests]) -> None:
    manifests = build("production", http=True)
    [rule] = manifests.spec("HTTPRoute")["rules"]
    [backend] = rule["backendRefs"]

    [service] = [each for each in manifests.of("Service") if each["metadata"]["name"] == backend["name"]]
    [port] = [each for each in service["spec"]["ports"] if each["port"] == backend["port"]]
    assert port["targetPort"] in manifests.ports
    # Of the whole Service: without a section that would name one port.
    assert manifests.spec("BackendTLSPolicy")["targetRefs"] == [
        {"group": "", "kind": "Service", "name": backend["name"]}
    ]


@pytest.fixture
def host() -> str:
    """Return a loopback address with free ports, because the ports of a pod are fixed."""
    host = f"127.{64 + randbelow(128)}.{randbelow(256)}.{1 + randbelow(254)}"
    for port in (8080, 8765, 9090):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((host, port))
                trial.listen()
            except OSError as error:
                pytest.skip(f"needs port {port} of {host}: {error.strerror}")
    return host


def settings_here(manifests: Manifests, image: dict[str, str], folder: Path, host: str) -> dict[str, str]:
    """Return the environment of the pod, with addresses and paths of this machine."""
    settings = image | manifests.settings({"HEADSTART_DATABASE": f"sqlite:///{folder}/jobs.sqlite3"})
    paths = {
        "/var/lib/headstart": folder / "data",
        "/etc/headstart": folder,
        "/tls": folder / "tls",
        "/networks": default_cache(),
        "/opt/headstart-networks": default_cache(),
        "s3:/": folder / "bucket",
    }
    for name, value in settings.items():
        for start, path in paths.items():
            if value.startswith(f"{start}/") or value == start:
                settings[name] = f"{path}{value.removeprefix(start)}"
    for name in {"HEADSTART_HOST"} & settings.keys():
        assert settings[name] == "0.0.0.0"
        settings[name] = host
    return settings


def mount_secrets(manifests: Manifests, folder: Path, host: str) -> ssl.SSLContext:
    """Write the files of the pod's volumes; return a context that trusts its certificate."""
    authority = identity("authority")
    shown = identity("server", authority, x509.DNSName("headstart"), x509.IPAddress(ip_address(host)))
    grants = 'grants = [{ rights = ["predict", "train"], models = ["*"] }]'
    principal = f'[[principals]]\nname = "test"\ntoken_sha256 = ["{token_hash(TOKEN)}"]\n{grants}\n'
    contents = {
        "tls/tls.crt": shown.chain.decode(),
        "tls/tls.key": shown.private.decode(),
        "tls/ca.crt": authority.chain.decode(),
        "access/access.toml": principal,
    }
    for each in manifests.of("ConfigMap"):
        contents |= {
            f"backbones/{name}": text for name, text in each["data"].items() if name.endswith(".toml")
        }
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return ssl.create_default_context(cadata=authority.chain.decode())


@contextmanager
def pod(settings: dict[str, str], manifests: Manifests) -> Iterator[ServerProcess]:
    """Run a server with the arguments of the container until the end of the block."""
    server = ServerProcess(
        Path(settings["HEADSTART_DATA_DIR"]), *manifests.container["args"], settings=settings
    )
    try:
        server.event("listening")
        yield server
    finally:
        server.kill()


def listening(server: ServerProcess, host: str) -> set[int]:
    """Return the ports that it listens on; gRPC has the address mapped to IPv6."""
    connections = psutil.Process(server.pid).net_connections("tcp")
    assert {each.laddr.ip.removeprefix("::ffff:") for each in connections if each.status == "LISTEN"} == {
        host
    }
    return {each.laddr.port for each in connections if each.status == "LISTEN"}


def zipped() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for label, place in itertools.product((0, 1), range(4)):
            opened.writestr(f"{label}/{place}.png", digit(label, place))
    return archive.getvalue()


@pytest.fixture(scope="session")
def image(stages: dict[str, Any]) -> dict[str, str]:
    """Return the settings of the image."""
    pairs = (pair.split("=", 1) for line in stages["cpu"].all("ENV") for pair in line.split())
    return {name: value for name, value in pairs if name.startswith("HEADSTART_")}


@pytest.mark.parametrize("overlay", ["cluster", "production"])
def test_every_key_of_the_secret_is_a_variable_of_the_server(
    overlay: str, build: Callable[..., Manifests]
) -> None:
    secrets = {
        "HEADSTART_DATABASE": "postgresql://user:password@db/headstart",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL_S3": "http://minio.minio:9000",
    }
    manifests = build(overlay, http=False)
    assert secrets.items() <= manifests.settings(secrets).items()
    # Without a separate database a pod must not start.
    with pytest.raises(KeyError, match="HEADSTART_DATABASE"):
        manifests.settings({})


def test_production_limits_each_tenant(build: Callable[..., Manifests]) -> None:
    settings = build("production", http=False).settings({"HEADSTART_DATABASE": ""})
    limits = [name for name in SETTINGS if name.endswith(("_per_tenant", "_per_caller", "_limit"))]
    limits.remove("job_time_limit")
    assert limits
    loaded = load({}, settings)
    assert not loaded.problems
    for name in limits:
        assert loaded.values[name].value is not None, name


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("overlay", ["cluster", "production"])
def test_a_pod_with_the_component_answers_at_the_port_of_the_service(
    overlay: str, build: Callable[..., Manifests], image: dict[str, str], tmp_path: Path, host: str
) -> None:
    manifests = build(overlay, http=True)
    context = mount_secrets(manifests, tmp_path, host)
    [port] = {
        manifests.ports[port["targetPort"]]
        for service in manifests.of("Service")
        for port in service["spec"]["ports"]
        if port["name"] == "http"
    }
    settings = settings_here(manifests, image, tmp_path, host)
    url = f"{'https' if overlay == 'production' else 'http'}://{host}:{port}/v1"

    def call(path: str, body: bytes | None = None, media_type: str = "") -> Any:
        headers = {"authorization": f"Bearer {TOKEN}", "content-type": media_type}
        request = urllib.request.Request(f"{url}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=90, context=context) as answer:
            return json.load(answer)

    with pod(settings, manifests) as server:
        assert listening(server, host) == set(manifests.ports.values())
        first = call("/models")
        assert first["models"] == []
        most = settings.get("HEADSTART_MAX_VERSIONS_PER_TENANT")
        assert call("/usage")["usage"].get("versionLimit") == most
        server.wait_until_serving()
        job = call("/models/digits:fineTune", zipped(), "application/zip")["job"]
        assert call(f"/jobs/{job['jobId']}?waitDuration=60s")["job"]["state"] == "JOB_STATE_SUCCEEDED"
        assert [each["model"] for each in call("/models")["models"]] == ["digits"]
        if overlay == "production":
            audited = [json.loads(line) for line in server.log.splitlines() if '"principal"' in line]
            assert [(each["principal"], each["outcome"]) for each in audited] == [("test", "OK")]
        result = call("/models/digits:predict?topK=1", digit(1, 40), "image/png")["results"][0]
        assert len(result["predictions"][0]["classes"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("overlay", ["cluster", "production"])
def test_a_pod_without_the_component_has_no_http_port(
    overlay: str, build: Callable[..., Manifests], image: dict[str, str], tmp_path: Path, host: str
) -> None:
    manifests = build(overlay, http=False)
    mount_secrets(manifests, tmp_path, host)

    with pod(settings_here(manifests, image, tmp_path, host), manifests) as server:
        assert listening(server, host) == set(manifests.ports.values())
        with socket.socket() as connection:
            assert connection.connect_ex((host, 8080)) != 0
