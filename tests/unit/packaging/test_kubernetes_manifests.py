"""Each overlay is valid for Kubernetes and keeps the promises of its documentation."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headstart_server.doctor.disk import check_disk
from headstart_server.settings.settings import Settings
from headstart_server.settings.sources import load
from headstart_server.settings.units import parse_duration
from unit.packaging.manifests import copied, gibibytes, with_all

OVERLAYS = ["cpu", "gpu", "cluster", "production"]
#: Those whose pod has all there is on its volume.
ALONE = ["cpu", "gpu"]
#: Those of several replicas.
SHARED = ["cluster", "production"]
#: What only `production` has; test_kubernetes_components.py is about it.
MORE = {
    "BackendTLSPolicy",
    "Certificate",
    "GRPCRoute",
    "HorizontalPodAutoscaler",
    "NetworkPolicy",
    "PrometheusRule",
    "ServiceMonitor",
}
MORE_NAMES = ("headstart-backbones-", "headstart-dashboard", "headstart-gateway")

#: A document of a manifest, as YAML gives it.
Document = dict[str, Any]


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def documents(overlay: str, root: Path, kustomize: Callable[[Path], list[Document]]) -> dict[str, Document]:
    """The documents of an overlay by kind, but for those of components."""
    built = [
        document
        for document in kustomize(root / "k8s/overlays" / overlay)
        if document["kind"] not in MORE and not document["metadata"]["name"].startswith(MORE_NAMES)
    ]
    kinds = {document["kind"]: document for document in built}
    assert len(kinds) == len(built)
    return kinds


@pytest.fixture
def deployment(documents: dict[str, Document]) -> Document:
    return documents["Deployment"]["spec"]


@pytest.fixture
def pod(deployment: Document) -> Document:
    return deployment["template"]["spec"]


@pytest.fixture
def container(pod: Document) -> Document:
    assert len(pod["containers"]) == 1
    return pod["containers"][0]


def test_every_document_is_valid_for_the_newest_kubernetes_we_know(documents: dict[str, Document]) -> None:
    # Slow to import, as in `manifests`.
    import kubernetes_validate

    for document in documents.values():
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_an_overlay_has_exactly_the_objects_of_the_service_and_no_namespace(
    overlay: str, documents: dict[str, Document]
) -> None:
    always = {"ConfigMap", "Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"}
    assert set(documents) == always | ({"PersistentVolumeClaim"} if overlay in ALONE else set())
    assert not any("namespace" in document["metadata"] for document in documents.values())


@pytest.mark.parametrize("overlay", ALONE, indirect=True, scope="module")
def test_one_pod_at_a_time_has_the_sqlite_file(documents: dict[str, Document], deployment: Document) -> None:
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}
    assert documents["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteOnce"]


@pytest.mark.parametrize("overlay", SHARED, indirect=True, scope="module")
def test_replicas_share_a_database_and_a_bucket_and_a_new_one_serves_before_an_old_one_stops(
    overlay: str,
    documents: dict[str, Document],
    deployment: Document,
    pod: Document,
    container: Document,
) -> None:
    # In production the autoscaler says how many.
    assert deployment.get("replicas") == (3 if overlay == "cluster" else None)
    assert deployment["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    assert documents["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    settings = documents["ConfigMap"]["data"]
    assert settings["HEADSTART_ARTIFACTS"].startswith("s3://")
    secrets = {each["name"]: each["valueFrom"] for each in container["env"] if "valueFrom" in each}
    assert secrets["HEADSTART_DATABASE"] == {
        "secretKeyRef": {"name": "headstart-cluster", "key": "HEADSTART_DATABASE"}
    }
    spreads = pod["topologySpreadConstraints"]
    assert {spread["topologyKey"] for spread in spreads} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    for spread in spreads:
        assert spread["labelSelector"]["matchLabels"] == deployment["selector"]["matchLabels"]


def test_service_and_disruption_budget_select_the_pods(
    documents: dict[str, Document], deployment: Document
) -> None:
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert documents["Service"]["spec"]["selector"] == labels
    assert documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels


def test_the_service_resolves_to_pods_so_that_clients_go_round_them(
    overlay: str, documents: dict[str, Document]
) -> None:
    service = documents["Service"]["spec"]
    assert service["clusterIP"] == "None"
    assert {port["name"]: (port["port"], port["appProtocol"]) for port in service["ports"]} == {
        "grpc": (8765, "https" if overlay == "production" else "kubernetes.io/h2c"),
        "metrics": (9090, "http"),
    }


def test_the_ports_are_those_of_the_image(
    documents: dict[str, Document], container: Document, stages: dict[str, Any]
) -> None:
    # That of HTTP is opened by a component: test_kubernetes_http.py.
    exposed = {int(port) for port in stages["cpu"].last("EXPOSE").split()} - {8080}
    names = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert set(names.values()) == exposed
    assert {names[port["targetPort"]] for port in documents["Service"]["spec"]["ports"]} == exposed


def test_the_image_has_the_tag_of_this_release(overlay: str, container: Document, root: Path) -> None:
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    suffix = {"gpu": "-gpu", "cluster": "-slim"}.get(overlay, "")
    assert container["image"] == f"headstart:{version}{suffix}"


def test_the_image_runs_serve(container: Document) -> None:
    assert "command" not in container
    assert container["args"] == ["serve"]


def test_it_starts_on_the_pods_address_without_tls_but_in_production(
    overlay: str, documents: dict[str, Document], stages: dict[str, Any]
) -> None:
    settings = documents["ConfigMap"]["data"]
    image = dict(pair.split("=", 1) for line in stages["cpu"].all("ENV") for pair in line.split())
    paths = {name: settings.get(f"HEADSTART_{name.upper()}") for name in ("tls_cert", "tls_key")}
    config = Settings.of(
        host=image["HEADSTART_HOST"],
        plaintext=settings["HEADSTART_PLAINTEXT"] == "true",
        **{name: Path(path) for name, path in paths.items() if path},
    )
    assert (config.tls.tls_cert is not None) == (overlay == "production")
    assert settings["HEADSTART_METRICS_PORT"] == "9090"


@pytest.mark.parametrize("overlay", [*ALONE, "cluster"], indirect=True, scope="module")
def test_all_probes_ask_the_grpc_health_service(container: Document) -> None:
    probes = [container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
    assert [probe["grpc"]["port"] for probe in probes] == [8765] * 3


def test_a_backbone_has_minutes_to_get_warm(container: Document) -> None:
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 180


def test_a_stopping_server_has_longer_than_its_grace(
    documents: dict[str, Document], pod: Document, container: Document
) -> None:
    before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    grace = parse_duration(documents["ConfigMap"]["data"]["HEADSTART_GRACE_PERIOD"])
    assert pod["terminationGracePeriodSeconds"] >= before + grace + 20


@pytest.mark.parametrize("overlay", ALONE, indirect=True, scope="module")
def test_the_documents_give_a_stop_as_long_as_the_manifest_does(root: Path, pod: Document) -> None:
    seconds = pod["terminationGracePeriodSeconds"]
    assert f"`terminationGracePeriodSeconds: {seconds}`" in (root / "k8s/README.md").read_text()
    for file in ("Dockerfile", "docs/operate/container.md"):
        assert f"docker stop --timeout {seconds}" in (root / file).read_text(), file


@pytest.mark.parametrize("overlay", SHARED, indirect=True, scope="module")
def test_a_replica_serves_on_until_clients_have_looked_its_name_up_again(container: Document) -> None:
    # The client resolves at most once in 5 s.
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] > 5


def test_it_runs_without_root_in_a_read_only_root_without_capabilities(
    pod: Document, container: Document, stages: dict[str, Any]
) -> None:
    user, group = map(int, stages["cpu"].last("USER").split(":"))
    assert (
        pod["securityContext"].items()
        >= {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": group,
            "fsGroup": group,
            "seccompProfile": {"type": "RuntimeDefault"},
        }.items()
    )
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_it_can_write_where_the_image_says_it_writes(
    overlay: str,
    documents: dict[str, Document],
    pod: Document,
    container: Document,
    stages: dict[str, Any],
) -> None:
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    data = volumes[mounts[stages["cpu"].last("VOLUME")]]
    if overlay in ALONE:
        claim = documents["PersistentVolumeClaim"]["metadata"]["name"]
        assert data["persistentVolumeClaim"]["claimName"] == claim
    else:
        # An emptyDir is never full: the kubelet evicts a pod that writes more than its sizeLimit.
        assert set(data) == {"name", "ephemeral"}
    assert "emptyDir" in volumes[mounts["/tmp"]]


def test_the_volume_fits_all_that_the_settings_allow(
    overlay: str, documents: dict[str, Document], pod: Document, tmp_path: Path
) -> None:
    [data] = [each for each in pod["volumes"] if each["name"] == "data"]
    claim = (
        data["ephemeral"]["volumeClaimTemplate"]
        if "ephemeral" in data
        else documents["PersistentVolumeClaim"]
    )
    environment = {
        **documents["ConfigMap"]["data"],
        "HEADSTART_DATA_DIR": str(tmp_path / "data"),
        "HEADSTART_BACKBONE_CACHE": str(tmp_path / "data/backbones"),
    }
    if overlay in SHARED:
        environment["HEADSTART_DATABASE"] = "postgresql://headstart@postgres/headstart"
    findings = {each.name: each for each in check_disk(load({}, environment).settings())}
    needed = sum(int(str(findings[name].details["needed_mib"])) for name in ("data folder", "backbone cache"))

    assert 0 < needed <= gibibytes(claim["spec"]["resources"]["requests"]["storage"]) * 1024


@pytest.mark.parametrize("has_all", [False, True])
def test_a_pod_may_use_as_much_of_its_node_as_its_volumes_may_hold(
    overlay: str, root: Path, kustomize: Callable[[Path], list[Document]], tmp_path: Path, has_all: bool
) -> None:
    file = copied(root, tmp_path) / "overlays" / overlay / "kustomization.yaml"
    if has_all:
        file.write_text(with_all(file.read_text()))
    [pod] = [
        each["spec"]["template"]["spec"] for each in kustomize(file.parent) if each["kind"] == "Deployment"
    ]
    sizes = [gibibytes(each["emptyDir"]["sizeLimit"]) for each in pod["volumes"] if "emptyDir" in each]
    limit = gibibytes(pod["containers"][0]["resources"]["limits"]["ephemeral-storage"])

    # Some is left for logs.
    assert sum(sizes) < limit


def test_it_has_no_token_of_the_cluster(documents: dict[str, Document], pod: Document) -> None:
    assert documents["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == documents["ServiceAccount"]["metadata"]["name"]


def test_names_of_services_do_not_become_settings(
    overlay: str, documents: dict[str, Document], pod: Document, container: Document
) -> None:
    assert pod["enableServiceLinks"] is False
    settings = {"configMapRef": {"name": documents["ConfigMap"]["metadata"]["name"]}}
    secrets = [] if overlay in ALONE else [{"secretRef": {"name": "headstart-cluster"}}]
    assert container["envFrom"] == [settings, *secrets]


def test_memory_and_processors_are_requested_and_limited(container: Document) -> None:
    resources = container["resources"]
    for amount in (resources["requests"], resources["limits"]):
        assert amount.keys() >= {"cpu", "memory", "ephemeral-storage"}


def test_only_the_gpu_overlay_asks_for_a_gpu(overlay: str, pod: Document, container: Document) -> None:
    gpu = overlay == "gpu"
    assert container["resources"]["limits"].get("nvidia.com/gpu") == ("1" if gpu else None)
    assert [toleration["key"] for toleration in pod.get("tolerations", [])] == (
        ["nvidia.com/gpu"] if gpu else []
    )
