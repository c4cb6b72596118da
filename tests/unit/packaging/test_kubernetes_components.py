"""Every component can be taken or left, and does what docs/operate/kubernetes.md says."""

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from headstart_server.__main__ import command
from headstart_server.api.server import SERVICE_NAMES
from headstart_server.backbones.contract.child_process import child_environment
from headstart_server.backbones.networks.declaration import declared
from headstart_server.settings.sources import with_files
from unit.packaging.manifests import LABELS, Document, copied, validate, with_all

Build = Callable[[Path], list[Document]]

COMPONENTS = {
    "replicas",
    "network-policy",
    "autoscaler",
    "autoscaler-queue",
    "service-monitor",
    "monitoring",
    "grpc-route",
    "http",
    "http-route",
    "tls",
    "certificate",
    "access",
    "gateway-tls",
    "backbones",
}
#: Components in a comment of the overlay.
OFF = {"http", "http-route", "backbones"}
#: Kinds that no component but this one brings.
BRINGS = {
    "network-policy": "NetworkPolicy",
    "autoscaler": "HorizontalPodAutoscaler",
    "service-monitor": "ServiceMonitor",
    "monitoring": "PrometheusRule",
    "grpc-route": "GRPCRoute",
    "http-route": "HTTPRoute",
    "certificate": "Certificate",
    "gateway-tls": "BackendTLSPolicy",
}
#: Components that change what another one brings.
NEEDS = {
    "autoscaler": {"autoscaler-queue"},
    "replicas": {"autoscaler", "autoscaler-queue"},
    "grpc-route": {"gateway-tls", "http-route"},
    "http": {"http-route"},
    "tls": {"certificate", "gateway-tls"},
}


@pytest.fixture(scope="module")
def production(root: Path, kustomize: Build) -> list[Document]:
    return kustomize(root / "k8s/overlays/production")


@pytest.fixture(scope="module")
def only(production: list[Document]) -> Callable[..., Document]:
    """Finds the one document of a kind, of several the one whose name begins so."""

    def find(kind: str, name: str = "") -> Document:
        [found] = [
            each
            for each in production
            if each["kind"] == kind and each["metadata"]["name"].startswith(name or "headstart")
        ]
        return found

    return find


def test_production_has_every_component_some_in_a_comment(root: Path) -> None:
    text = (root / "k8s/overlays/production/kustomization.yaml").read_text()
    assert {Path(each).name for each in yaml.safe_load(text)["components"]} == COMPONENTS - OFF
    taken = yaml.safe_load(with_all(text))["components"]
    assert {Path(each).name for each in taken} == COMPONENTS
    assert {folder.name for folder in (root / "k8s/components").iterdir()} == COMPONENTS


def test_all_of_production_is_valid_labeled_and_without_a_secret(production: list[Document]) -> None:
    for document in production:
        validate(document)
        is_dashboard = document["metadata"]["name"] == "headstart-dashboard"
        labels = {**LABELS, "grafana_dashboard": "1"} if is_dashboard else LABELS
        assert document["metadata"]["labels"] == labels
        assert "namespace" not in document["metadata"]
    assert "Secret" not in {document["kind"] for document in production}


@pytest.mark.parametrize("field", ["timeout", "weight"])
def test_a_field_that_the_gateway_api_has_not_there_is_found(
    only: Callable[..., Document], field: str
) -> None:
    import jsonschema

    route = only("GRPCRoute")
    rule = {**route["spec"]["rules"][0], field: 1}
    with pytest.raises(jsonschema.ValidationError):
        validate({**route, "spec": {**route["spec"], "rules": [rule]}})


@pytest.mark.parametrize("off", [set(), OFF], ids=["all", "default"])
@pytest.mark.parametrize("left", sorted(COMPONENTS))
def test_each_component_can_be_left_out(
    left: str, off: set[str], root: Path, tmp_path: Path, kustomize: Build
) -> None:
    out = {left, *NEEDS.get(left, ()), *off}
    file = copied(root, tmp_path) / "overlays/production/kustomization.yaml"
    content = yaml.safe_load(with_all(file.read_text()))
    content["components"] = [each for each in content["components"] if Path(each).name not in out]
    file.write_text(yaml.safe_dump(content))

    built = kustomize(file.parent)

    for document in built:
        validate(document)
    kinds = {document["kind"] for document in built}
    assert kinds & set(BRINGS.values()) == {kind for name, kind in BRINGS.items() if name not in out}
    [deployment] = [document["spec"] for document in built if document["kind"] == "Deployment"]
    assert ("initContainers" in deployment["template"]["spec"]) == ("backbones" not in out)
    if "autoscaler" in out:
        assert deployment["replicas"] == (1 if "replicas" in out else 3)
    # The port is in every document that names ports, or in none.
    listed = [
        [port["name"] for port in deployment["template"]["spec"]["containers"][0]["ports"]],
        *([port["name"] for port in each["spec"]["ports"]] for each in built if each["kind"] == "Service"),
        *(
            [port["port"] for port in each["spec"]["ingress"][0]["ports"]]
            for each in built
            if each["kind"] == "NetworkPolicy"
        ),
    ]
    assert ["http" in names for names in listed] == ["http" not in out] * len(listed)


def test_only_labeled_namespaces_reach_only_the_two_ports(only: Callable[..., Document]) -> None:
    policy = only("NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == LABELS
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert {
        rule["ports"][0]["port"]: [tuple(each["namespaceSelector"]["matchLabels"]) for each in rule["from"]]
        for rule in policy["ingress"]
    } == {"grpc": [("headstart-caller",)], "metrics": [("headstart-scraper",)]}
    assert all(len(rule["ports"]) == 1 for rule in policy["ingress"])


def test_pods_reach_names_database_and_bucket_and_no_credentials_of_their_node(
    only: Callable[..., Document],
) -> None:
    rules = only("NetworkPolicy")["spec"]["egress"]
    assert all(rule["to"] for rule in rules)
    ports = [[port["port"] for port in rule["ports"]] for rule in rules]
    assert ports == [[53, 53], [5432], [9000, 443], [443]]
    assert reached("169.254.20.10", 53, rules)  # NodeLocal DNSCache
    assert reached("203.0.113.7", 443, rules)
    # The metadata of clouds, the API of the cluster, and other services inside.
    for address in ("169.254.169.254", "fd00:ec2::254", "fe80::1", "10.96.0.1", "192.168.1.1", "127.0.0.1"):
        assert not reached(address, 443, rules)
        assert not reached(address, 53, rules)
    [bucket] = rules[2]["to"]
    assert bucket == {"namespaceSelector": {"matchLabels": {"headstart-bucket": "true"}}}


def reached(address: str, port: int, rules: list[Document]) -> bool:
    """Whether a policy lets a pod reach an address outside the cluster."""
    place = ip_address(address)
    blocks = [
        each["ipBlock"]
        for rule in rules
        if port in {each["port"] for each in rule["ports"]}
        for each in rule["to"]
        if "ipBlock" in each
    ]
    return any(
        place in ip_network(block["cidr"])
        and not any(place in ip_network(each) for each in block.get("except", ()))
        for block in blocks
    )


def test_the_patch_in_a_comment_leaves_the_addresses_of_the_bucket(
    root: Path, tmp_path: Path, kustomize: Build
) -> None:
    file = copied(root, tmp_path) / "overlays/production/kustomization.yaml"
    lines = file.read_text().splitlines()
    start = lines.index("  # - target:")
    end = next(place for place in range(start, len(lines)) if not lines[place].startswith("  #"))
    lines[start:end] = [line.replace("# ", "", 1) for line in lines[start:end]]
    file.write_text("\n".join(lines))

    [policy] = [each for each in kustomize(file.parent) if each["kind"] == "NetworkPolicy"]

    validate(policy)
    rules = policy["spec"]["egress"]
    assert reached("203.0.113.7", 443, rules)
    assert not reached("198.51.100.7", 443, rules)
    assert not reached("2001:db8::1", 443, rules)
    assert reached("169.254.20.10", 53, rules)


def test_the_autoscaler_goes_by_processors_and_by_jobs_that_wait(only: Callable[..., Document]) -> None:
    autoscaler, deployment = only("HorizontalPodAutoscaler")["spec"], only("Deployment")
    reference = autoscaler["scaleTargetRef"]
    assert (reference["kind"], reference["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"]
    processors, waiting = autoscaler["metrics"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert processors["containerResource"]["container"] == container["name"]
    assert container["resources"]["requests"]["cpu"]
    assert waiting["external"]["metric"] == {"name": "headstart_jobs_queued"}


def test_the_first_apply_is_followed_by_as_many_pods_as_the_autoscaler_keeps(
    root: Path, only: Callable[..., Document]
) -> None:
    lines = (root / "docs/operate/kubernetes.md").read_text().splitlines()
    commands = [line for line in lines if not line.startswith("#")]
    applied = next(
        place for place, line in enumerate(commands) if "--kustomize k8s/overlays/production" in line
    )
    scaled = re.search(r"kubectl scale .*--replicas=(\d+) deployment/headstart", commands[applied + 1])
    assert scaled is not None
    assert int(scaled[1]) == only("HorizontalPodAutoscaler")["spec"]["minReplicas"]


def test_the_monitor_finds_one_service_with_the_port_it_scrapes(
    production: list[Document], only: Callable[..., Document]
) -> None:
    [endpoint] = only("ServiceMonitor")["spec"]["endpoints"]
    services = [document for document in production if document["kind"] == "Service"]
    found = [
        service["metadata"]["name"]
        for service in services
        if endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    ]
    assert found == ["headstart"]


def test_the_route_passes_on_exactly_the_services_of_the_contract(only: Callable[..., Document]) -> None:
    [rule] = only("GRPCRoute")["spec"]["rules"]
    assert {match["method"]["service"] for match in rule["matches"]} == set(SERVICE_NAMES)
    service = only("Service", rule["backendRefs"][0]["name"])
    assert service["spec"].get("clusterIP") is None
    assert [port["port"] for port in service["spec"]["ports"]] == [rule["backendRefs"][0]["port"]]


def test_declared_backbones_are_prepared_where_the_server_looks_for_them(
    root: Path, kustomize: Build, stages: dict[str, Any], tmp_path: Path
) -> None:
    file = copied(root, tmp_path) / "overlays/production/kustomization.yaml"
    file.write_text(with_all(file.read_text()))
    built = kustomize(file.parent)
    [pod] = [each["spec"]["template"]["spec"] for each in built if each["kind"] == "Deployment"]
    [preparing] = pod["initContainers"]
    [serving] = pod["containers"]
    # What the image has prepared is looked into as well, and is not copied.
    assert "HEADSTART_PREPARED_BACKBONES=/opt/headstart-networks" in stages["cpu"].all("ENV")
    assert preparing["args"] == ["prepare"]
    settings = {each["name"]: each["value"] for each in preparing["env"] if "value" in each}
    threads = {
        each["name"]: each["valueFrom"]["resourceFieldRef"]
        for each in preparing["env"]
        if "valueFrom" in each
    }
    limit = {"containerName": "prepare", "resource": "limits.cpu"}
    assert threads == {"OMP_NUM_THREADS": limit, "TF_NUM_INTRAOP_THREADS": limit}
    assert set(threads) <= set(child_environment(dict.fromkeys(threads, "4")))
    # Tokens of hubs, and not the database's password and the bucket's keys.
    assert preparing["envFrom"] == [{"secretRef": {"name": "headstart-hub", "optional": True}}]
    assert settings.items() <= {each["name"]: each.get("value") for each in serving["env"]}.items()
    for container in (preparing, serving):
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert mounts[settings["HEADSTART_BACKBONES_FILE"]] == "backbones"
        assert mounts[settings["HEADSTART_BACKBONE_CACHE"]] == "networks"
    assert preparing["image"] == serving["image"]
    assert preparing["securityContext"] == serving["securityContext"]
    # A ConfigMap is mounted as links into a hidden folder, which is no second declaration.
    [content] = [
        each["data"]["backbones.toml"]
        for each in built
        if each["metadata"]["name"].startswith("headstart-backbones")
    ]
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data/backbones.toml").write_text(content)
    (tmp_path / "backbones.toml").symlink_to("..data/backbones.toml")
    assert [each.name for each in declared(tmp_path, ())] == ["mobilenet-v3-small"]


def test_with_a_certificate_the_port_and_the_probes_speak_tls(
    only: Callable[..., Document], production: list[Document]
) -> None:
    [container] = only("Deployment")["spec"]["template"]["spec"]["containers"]
    volumes = {each["name"]: each for each in only("Deployment")["spec"]["template"]["spec"]["volumes"]}
    [settings] = [
        each["data"]
        for each in production
        if each["kind"] == "ConfigMap" and "HEADSTART_PLAINTEXT" in each["data"]
    ]
    assert settings["HEADSTART_PLAINTEXT"] == "false"
    # Of what the Secret has, which is what cert-manager writes.
    [folder] = [each["mountPath"] for each in container["volumeMounts"] if each["name"] == "tls"]
    files = [settings[f"HEADSTART_{name}"] for name in ("TLS_CERT", "TLS_KEY", "CA")]
    assert files == [f"{folder}/{name}" for name in ("tls.crt", "tls.key", "ca.crt")]
    certificate = only("Certificate")["spec"]
    assert volumes["tls"]["secret"]["secretName"] == certificate["secretName"]
    names = {settings["HEADSTART_TLS_NAME"], only("BackendTLSPolicy")["spec"]["validation"]["hostname"]}
    assert names <= set(certificate["dnsNames"])
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[name].keys() == {
            "exec", "periodSeconds", "timeoutSeconds", "failureThreshold"
        }  # fmt: skip
        assert container[name]["exec"]["command"][:2] == ["headstart-server", "health"]
        # The command's own patience ends first.
        assert container[name]["timeoutSeconds"] > 5
    for service in (each for each in production if each["kind"] == "Service"):
        assert service["spec"]["ports"][0]["appProtocol"] == "https"


def test_callers_are_identified_by_a_file_of_a_secret(
    only: Callable[..., Document], production: list[Document]
) -> None:
    pod = only("Deployment")["spec"]["template"]["spec"]
    [settings] = [
        each["data"]
        for each in production
        if each["kind"] == "ConfigMap" and "HEADSTART_PLAINTEXT" in each["data"]
    ]
    [mount] = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "access"]
    [volume] = [each for each in pod["volumes"] if each["name"] == "access"]
    assert settings["HEADSTART_ACCESS_FILE"] == f"{mount['mountPath']}/access.toml"
    assert volume["secret"] == {"secretName": "headstart-access", "defaultMode": 0o440}
    # A folder: what is mounted by a subPath never changes.
    assert mount.keys() == {"name", "mountPath", "readOnly"}


def test_the_gateway_trusts_the_pods_that_it_passes_calls_on_to(only: Callable[..., Document]) -> None:
    [reference] = only("BackendTLSPolicy")["spec"]["targetRefs"]
    [rule] = only("GRPCRoute")["spec"]["rules"]
    assert [each["name"] for each in rule["backendRefs"]] == [reference["name"]]


def test_every_setting_is_one_that_the_server_has(production: list[Document]) -> None:
    from typer.main import get_command

    group: Any = get_command(command)
    # The probes' among them.
    known = {str(each.envvar) for each in group.commands["health"].params} | {
        one.variable for one in with_files()
    }
    for document in production:
        if document["kind"] == "ConfigMap":
            assert {name for name in document["data"] if name.startswith("HEADSTART_")} <= known
        if document["kind"] == "Deployment":
            names = {each["name"] for each in document["spec"]["template"]["spec"]["containers"][0]["env"]}
            assert {name for name in names if name.startswith("HEADSTART_")} <= known
