"""Exports in a separate process, so that a server on a CPU runs without Keras and TensorFlow."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from headstart_server.backbones.contract.child_process import death
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.sources.registry import credentials_of
from headstart_server.backbones.worker.export_request import ExportRequest
from headstart_server.backbones.worker.worker_process import run_program
from headstart_server.errors import (
    ArtifactDamaged,
    BackboneMismatch,
    ExportFailed,
    ExportUnavailable,
    HeadstartError,
    InvalidField,
)
from headstart_server.storage.disk import check_space, storage_errors

#: Time limit of an export in seconds; on two cores a network of millions of weights takes about 15.
EXPORT_SECONDS = 900.0
#: Exit code of a rejected export.
REFUSED = 3
_PROGRAM = ("-m", "headstart_server.backbones.worker.export_command")


class Refusal(StrEnum):
    """Reasons of a failed export.

    FORM: the network has an operation that the format lacks.
    OTHER_BACKBONE: the version was fitted on another digest of the backbone.
    DAMAGED: its tail does not fit.
    NOT_INSTALLED: a package that the format needs is missing.
    """

    FORM = "form"
    OTHER_BACKBONE = "other_backbone"
    DAMAGED = "damaged"
    NOT_INSTALLED = "not_installed"


def export_in_process(
    declaration: Declaration,
    cache: Path,
    request: ExportRequest,
    folder: Path,
    checkpoint: Callable[[], None],
    *,
    conversion: Path | None = None,
    program: Sequence[str] = _PROGRAM,
) -> None:
    """Export into an empty folder in another process, which is killed when this raises.

    Args:
        checkpoint: called every `CHECK_SECONDS`; may raise to stop.
        conversion: folder of the backbone's OpenVINO network, for that format.
        program: Python arguments of the export command.

    Raises:
        InvalidField: the network has an operation that the format lacks.
        ArtifactDamaged: its tail does not fit the backbone.
        StorageFull: the disk is full, for this process or the other one.
        LocalStorageUnavailable: another error of the operating system.
    """
    # Exports are removed at each start, so a file that cannot be removed now does not fail this one.
    temporary = TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True)
    with storage_errors(writes=False), temporary as name:
        work = Path(name)
        with storage_errors():
            request.save(work)
        arguments = [declaration.as_json(), str(cache), name, str(folder), str(conversion or "")]
        try:
            ended = run_program(
                [*program, *arguments],
                checkpoint=lambda _: checkpoint(),
                seconds=EXPORT_SECONDS,
                credentials=credentials_of(declaration),
            )
        except TimeoutError as error:
            raise ExportFailed(f"The export failed. {error}") from None
        if ended.code == REFUSED:
            raise _refusal(json.loads(ended.stdout.splitlines()[-1]), request)
        if ended.code != 0:
            # Before the partial export is removed, which would free the space that it lacked.
            with suppress(OSError):
                check_space(work)
            raise ExportFailed(
                "Expected the export process to end with an export. "
                f"Received: {death(ended.code, ended.stderr)}"
            )


def _refusal(refusal: dict[str, str], request: ExportRequest) -> HeadstartError:
    message, form = refusal["message"], request.form
    match Refusal(refusal["kind"]):
        case Refusal.OTHER_BACKBONE:
            return BackboneMismatch(
                f"Expected the backbone that the version was fitted on, digest {request.digest[:12]}. "
                f"Received: digest {message[:12]}. Fine-tune it again, or export it where it was fine-tuned."
            )
        case Refusal.DAMAGED:
            return ArtifactDamaged(f"The version's tail does not fit its backbone. {message}")
        case Refusal.NOT_INSTALLED:
            return ExportUnavailable(
                f"An export as {form} needs the package {message}. Install 'headstart[export]' where the "
                "server runs.",
                metadata={"form": form},
            )
        case Refusal.FORM:
            return InvalidField(
                f"Expected a form that can hold this version's network. Received: {form}. {message}",
                field="form",
            )
