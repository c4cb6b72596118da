"""Copies of our manifests with HTTP on, and schemas of their documents."""

import json
import re
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

#: A document of a manifest, as YAML gives it.
Document = dict[str, Any]

LABELS = {"app.kubernetes.io/name": "headstart"}


def _exactly(required: Iterable[str] = (), /, **properties: Document) -> Document:
    """The schema of an object with these properties and no others; those required are by default all."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required) or list(properties),
        "additionalProperties": False,
    }


def _list(items: Document, most: int) -> Document:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most}


_NAME = {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
_HOST = {"type": "string", "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253}
_DURATION = {"type": "string", "pattern": "^[1-9][0-9]*s$"}
_METADATA = _exactly(name=_NAME, labels={"const": LABELS})
#: The fields that we use of kinds outside Kubernetes, after the published definitions of Gateway API's
#: standard channel (v1), prometheus-operator and cert-manager.
CUSTOM = {
    "BackendTLSPolicy": _exactly(
        apiVersion={"const": "gateway.networking.k8s.io/v1"},
        kind={"const": "BackendTLSPolicy"},
        metadata=_METADATA,
        spec=_exactly(
            targetRefs=_list(_exactly(group={"const": ""}, kind={"const": "Service"}, name=_NAME), 16),
            validation=_exactly(
                hostname=_HOST,
                caCertificateRefs=_list(
                    _exactly(group={"const": ""}, kind={"const": "ConfigMap"}, name=_NAME), 8
                ),
            ),
        ),
    ),
    "Certificate": _exactly(
        apiVersion={"const": "cert-manager.io/v1"},
        kind={"const": "Certificate"},
        metadata=_METADATA,
        spec=_exactly(
            secretName=_NAME,
            dnsNames=_list(_HOST, 100),
            usages=_list({"enum": ["server auth", "client auth"]}, 2),
            privateKey=_exactly(
                algorithm={"const": "ECDSA"},
                size={"enum": [256, 384, 521]},
                rotationPolicy={"enum": ["Never", "Always"]},
            ),
            issuerRef=_exactly(kind={"enum": ["Issuer", "ClusterIssuer"]}, name=_NAME),
        ),
    ),
    # Its rules are promtool's to check: test_monitoring.py.
    "PrometheusRule": _exactly(
        apiVersion={"const": "monitoring.coreos.com/v1"},
        kind={"const": "PrometheusRule"},
        metadata=_METADATA,
        spec=_exactly(
            groups=_list(
                {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "interval": _DURATION,
                        "rules": {"type": "array", "minItems": 1},
                    },
                    "required": ["name", "rules"],
                    "additionalProperties": False,
                },
                16,
            )
        ),
    ),
    "GRPCRoute": _exactly(
        apiVersion={"const": "gateway.networking.k8s.io/v1"},
        kind={"const": "GRPCRoute"},
        metadata=_METADATA,
        spec=_exactly(
            ("parentRefs", "rules"),
            parentRefs=_list(_exactly(("name",), name=_NAME, namespace=_NAME), 32),
            hostnames=_list(_HOST, 16),
            rules=_list(
                _exactly(
                    matches=_list(
                        _exactly(
                            method=_exactly(
                                type={"const": "Exact"},
                                service={
                                    "type": "string",
                                    "pattern": r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$",
                                },
                            )
                        ),
                        64,
                    ),
                    backendRefs=_list(
                        _exactly(name=_NAME, port={"type": "integer", "minimum": 1, "maximum": 65535}), 16
                    ),
                ),
                16,
            ),
        ),
    ),
    "HTTPRoute": _exactly(
        apiVersion={"const": "gateway.networking.k8s.io/v1"},
        kind={"const": "HTTPRoute"},
        metadata=_METADATA,
        spec=_exactly(
            ("parentRefs", "rules"),
            parentRefs=_list(_exactly(("name",), name=_NAME, namespace=_NAME), 32),
            hostnames=_list(_HOST, 16),
            rules=_list(
                _exactly(
                    matches=_list(
                        _exactly(
                            path=_exactly(
                                type={"enum": ["Exact", "PathPrefix"]},
                                # Without what the definition's rules exclude: `//`, `/./` and `%2f`, for one.
                                value={
                                    "type": "string",
                                    "pattern": r"^(/[A-Za-z0-9_:-]+)+$",
                                    "maxLength": 1024,
                                },
                            )
                        ),
                        64,
                    ),
                    timeouts=_exactly(
                        request={"type": "string", "pattern": r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"}
                    ),
                    backendRefs=_list(
                        _exactly(name=_NAME, port={"type": "integer", "minimum": 1, "maximum": 65535}), 16
                    ),
                ),
                16,
            ),
        ),
    ),
    "ServiceMonitor": _exactly(
        apiVersion={"const": "monitoring.coreos.com/v1"},
        kind={"const": "ServiceMonitor"},
        metadata=_METADATA,
        spec=_exactly(
            selector=_exactly(matchLabels={"const": LABELS}),
            endpoints=_list(
                _exactly(
                    port={"type": "string"},
                    path={"type": "string", "pattern": "^/"},
                    interval=_DURATION,
                    scrapeTimeout=_DURATION,
                ),
                16,
            ),
        ),
    ),
}


def validate(document: Document) -> None:
    """Check a document against the schema of its kind."""
    _validate(json.dumps(document))


@cache
def _validate(text: str) -> None:
    """Check a document once: overlays have most of their documents in common, and schemas load slowly."""
    # Slow to import: they compile a grammar, which each worker would do at collection.
    import jsonschema
    import kubernetes_validate

    document: Document = json.loads(text)
    if schema := CUSTOM.get(document["kind"]):
        jsonschema.validate(document, schema)
    else:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def copied(root: Path, folder: Path) -> Path:
    """Copy `k8s` into a folder, to change it there."""
    return Path(shutil.copytree(root / "k8s", folder / "k8s"))


def gibibytes(quantity: str) -> int:
    """Return the number of a quantity of Kubernetes such as ``4Gi``."""
    assert quantity.endswith("Gi"), quantity
    return int(quantity.removesuffix("Gi"))


def with_http(text: str) -> str:
    """Uncomment the components of HTTP in the kustomization.yaml of an overlay."""
    return _uncommented(text, r"http(-route)?")


def with_all(text: str) -> str:
    """Uncomment every component in the kustomization.yaml of an overlay."""
    return _uncommented(text, r"[-a-z]+")


def _uncommented(text: str, name: str) -> str:
    return re.sub(rf"^  # (- \.\./\.\./components/{name})$", r"  \1", text, flags=re.MULTILINE)
