"""Checks that the packages that the settings require are installed."""

import os
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from importlib.metadata import version as package_version

from headstart_server.doctor.backbones import declarations
from headstart_server.doctor.finding import Finding, failed, ok
from headstart_server.observability.trace_setting import wants_traces
from headstart_server.settings.settings import Settings

_REQUIREMENT = re.compile(r"""([A-Za-z0-9._-]+).*;\s*extra\s*==\s*['"]([^'"]+)['"]""")
#: The extras of backbones' sources, by scheme.
_OF_SCHEMES = {"kerashub": "kerashub", "hf": "kerashub", "timm": "kerashub", "torch": "torch"}
#: The packages that convert Keras backbones, train the recipe `partial` and export Keras models.
_KERAS = ("keras", "tensorflow")


def check_packages(config: Settings) -> Iterator[Finding]:
    """Check every extra that the settings require, and whether Keras is installed."""
    extras = _required()
    yield _finding("packages", "serving", extras.get("serving", ()), "the server")
    of_server = set(extras.get("server", ()))
    for extra, reason in needed_extras(config).items():
        own = [name for name in extras.get(extra, ()) if name not in of_server]
        yield _finding(f"extra {extra}", extra, own, reason)
    yield _keras()


def needed_extras(config: Settings) -> Mapping[str, str]:
    """Return the extras that the settings require, each with the setting that requires it."""
    found: dict[str, str] = {}
    if str(config.storage.database_url or "").startswith("postgres"):
        found["postgres"] = "--database postgresql://"
    places = [
        ("--artifacts", config.storage.artifacts or ""),
        *(("--allow-dataset-uri", one) for one in config.jobs.allow_dataset_uri),
    ]
    for setting, place in places:
        for scheme, extra in (("s3://", "s3"), ("gs://", "gcs"), ("gcs://", "gcs"), ("https://", "http")):
            if place.startswith(scheme):
                found.setdefault(extra, f"{setting} {scheme}")
    if config.jobs.sends_webhooks:
        found.setdefault("http", "--webhook")
    if config.server.http_port is not None:
        found["http"] = "--http-port"
    if wants_traces(config.observability.trace_url, os.environ):
        found["otel"] = "--trace-endpoint or OTEL_..."
    for declaration in declarations(config):
        if declaration.scheme in _OF_SCHEMES:
            found.setdefault(_OF_SCHEMES[declaration.scheme], f"backbone {declaration.name}")
    return found


def _required() -> Mapping[str, list[str]]:
    """Return the packages of each extra, as the installed package declares them."""
    found: dict[str, list[str]] = {}
    for requirement in requires("headstart") or ():
        if match := _REQUIREMENT.match(requirement):
            found.setdefault(match[2], []).append(match[1])
    return found


def _finding(name: str, extra: str, packages: list[str] | tuple[()], reason: str) -> Finding:
    versions = {package: _version(package) for package in packages}
    missing = [package for package, version in versions.items() if version is None]
    if missing:
        return failed(
            name,
            f"Missing for {reason}: {', '.join(missing)}.",
            f"pip install 'headstart[{extra}]'",
            missing=missing,
            **versions,
        )
    if len(versions) > 4:
        return ok(name, f"all {len(versions)} packages of the extra {extra}", **versions)
    return ok(name, ", ".join(f"{package} {version}" for package, version in versions.items()), **versions)


def _keras() -> Finding:
    versions = {package: _version(package) for package in _KERAS}
    if all(versions.values()):
        return ok("Keras", ", ".join(f"{name} {version}" for name, version in versions.items()), **versions)
    return ok(
        "Keras",
        "not installed (slim): the server cannot convert Keras backbones, train with the recipe partial, or "
        "export Keras models. For these: pip install 'headstart[server]'",
        **versions,
    )


def _version(package: str) -> str | None:
    try:
        return package_version(package)
    except PackageNotFoundError:
        return None
