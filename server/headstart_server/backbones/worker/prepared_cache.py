"""Cache of prepared backbones: each folder is written once, then only read."""

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import version as package_version
from pathlib import Path

import structlog

from headstart_server.backbones.contract.child_process import NICE, death
from headstart_server.backbones.contract.runtimes import RuntimeKind
from headstart_server.backbones.networks.card import Card
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.runtimes.openvino_runtime import FORM
from headstart_server.backbones.sources.registry import credentials_of
from headstart_server.backbones.sources.source import SourceError
from headstart_server.backbones.worker.preparation_progress import Progress, Step
from headstart_server.backbones.worker.worker_process import Preparations
from headstart_server.errors import BackboneUnavailable
from headstart_server.storage.atomic_files import staged_folder

log = structlog.get_logger(__name__)

#: Python arguments of the prepare command.
PROGRAM = "headstart_server.backbones.worker.prepare_command"
QUANTIZE_PROGRAM = "headstart_server.backbones.worker.quantize_command"

#: Suffix of the folder of a backbone's quantized form.
QUANTIZED = "-int8"

#: Time limit of a preparation in seconds; on two cores it takes about ten, more for large networks.
PREPARATION_SECONDS = 1800.0

#: Exit code of a preparation if the backbone is at fault rather than the program.
REFUSED = 3

#: File with the fingerprint of the source of a prepared backbone.
_FINGERPRINT = "fingerprint"

#: Settings that do not affect the prepared files. The digest is checked whenever a card is read.
_WORDS = {"name", "license", "description", "digest"}


def folder_of(declaration: Declaration, fingerprint: str, cache: Path, kind: RuntimeKind) -> Path:
    """Return the folder of a backbone prepared for a runtime and, with OpenVINO, for its release."""
    settings = json.loads(declaration.as_json())
    settings = {name: value for name, value in settings.items() if name not in _WORDS}
    key = hashlib.sha256(json.dumps([settings, fingerprint], sort_keys=True).encode()).hexdigest()
    runtime = f"openvino-{package_version('openvino')}" if kind is RuntimeKind.OPENVINO else kind.value
    return cache / f"{key[:32]}-{runtime}-{FORM}"


def folder_without_source(declaration: Declaration, cache: Path, suffix: str = "") -> Path | None:
    """Return the folder of a prepared backbone without reading its source; None if missing."""
    for file in sorted(cache.glob(f"*{suffix}/{_FINGERPRINT}")):
        fingerprint = file.read_text(encoding="utf-8")
        expected = folder_of(declaration, fingerprint, cache, RuntimeKind.OPENVINO)
        if expected.name + suffix == file.parent.name:
            return file.parent
    return None


def quantize_into(
    folder: Path,
    prepared: Path,
    declaration: Declaration,
    samples: Path | None,
    *,
    fingerprint: str,
    preparations: Preparations,
) -> Card:
    """Quantize a prepared backbone in a separate process, unless its folder is already present and intact.

    Args:
        prepared: folder of the backbone in floating point.
        samples: folder of samples to calibrate on; None for samples of packages.

    Raises:
        SourceError, BackboneUnavailable, Draining or OSError: as `prepare_into`.
    """
    ready = prepared_in(folder)
    if ready is not None:
        return ready
    with _in_place_of(folder) as part:
        arguments = [str(prepared), str(samples or ""), str(part), "0"]
        _run(QUANTIZE_PROGRAM, arguments, declaration, preparations)
        (part / _FINGERPRINT).write_text(fingerprint, encoding="utf-8")
    return Card.read(folder)


def prepare_into(
    folder: Path,
    declaration: Declaration,
    cache: Path,
    *,
    fingerprint: str,
    preparations: Preparations,
    progress: Progress,
    low_priority: bool = False,
) -> Card:
    """Prepare a backbone in a separate process, unless its folder is already present and intact.

    Args:
        low_priority: whether to run at low priority, because no call waits.

    Raises:
        SourceError: the declaration or the network is at fault; the message has the reason.
        BackboneUnavailable: the process failed; the message has its last output.
        Draining: the server is stopping.
        OSError: the cache cannot be read or written.
    """
    ready = prepared_in(folder)
    if ready is not None:
        return ready
    with _in_place_of(folder) as part:
        _prepare(declaration, cache, part, preparations, progress, nice=NICE if low_priority else 0)
        (part / _FINGERPRINT).write_text(fingerprint, encoding="utf-8")
    progress.end()
    return Card.read(folder)


def prepared_in(folder: Path) -> Card | None:
    """Return the card of a prepared backbone; None if missing or damaged. Raise OSError if unreadable."""
    if not folder.is_dir():
        return None
    try:
        return Card.read(folder)
    except ValueError as error:
        log.warning("prepared_backbone_read_failed", folder=str(folder), error=str(error))
        return None


def keep_card(folder: Path, card: Card) -> Card:
    """Store a card unless one exists; return the stored one, which proves that features have not changed."""
    kept = prepared_in(folder)
    if kept is not None:
        return kept
    with _in_place_of(folder) as part:
        card.write(part)
    return Card.read(folder)


@contextmanager
def _in_place_of(folder: Path) -> Iterator[Path]:
    """Yield a staging folder that replaces a missing or damaged folder."""
    with staged_folder(folder) as part:
        yield part
        # Checked again, because another process may have written it meanwhile.
        if folder.is_dir() and prepared_in(folder) is None:
            shutil.rmtree(folder)


def _prepare(
    declaration: Declaration,
    cache: Path,
    folder: Path,
    preparations: Preparations,
    progress: Progress,
    *,
    nice: int,
) -> None:
    arguments = [declaration.as_json(), str(cache), str(folder), str(nice)]

    def watch(line: str) -> None:
        report = json.loads(line) if line else {}
        if "step" in report:
            progress.begin(Step(report["step"]))
        elif not line:
            progress.log()

    progress.log()
    _run(PROGRAM, arguments, declaration, preparations, watch, credentials=credentials_of(declaration))


def _run(
    program: str,
    arguments: list[str],
    declaration: Declaration,
    preparations: Preparations,
    watch: Callable[[str], None] = lambda _: None,
    *,
    credentials: Collection[str] = (),
) -> None:
    try:
        ended = preparations.run(
            ["-m", program, *arguments], PREPARATION_SECONDS, watch, credentials=credentials
        )
    except TimeoutError:
        raise BackboneUnavailable(
            f"Backbone '{declaration.name}' could not be prepared within {PREPARATION_SECONDS:.0f} seconds.",
            metadata={"backbone": declaration.name},
        ) from None
    if ended.code == REFUSED:
        raise SourceError(json.loads(ended.stdout.splitlines()[-1])["message"])
    if ended.code != 0:
        log.debug("backbone_preparation_failed", backbone=declaration.name, output=ended.stderr[-5000:])
        raise BackboneUnavailable(
            f"The process that prepares backbone '{declaration.name}' from {declaration.source} ended with "
            f"{death(ended.code, ended.stderr)}",
            metadata={"backbone": declaration.name},
        )
