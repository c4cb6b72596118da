"""Export command: ``python -m headstart_server.backbones.worker.export_command`` and the arguments of `main`.

It keeps Keras and TensorFlow out of the server. It reads the request from one folder and writes the export to
the other. It exits with `REFUSED` and one line of JSON on stdout if the version cannot be exported. It exits
immediately when stdin ends, because the caller has left.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from headstart_server.backbones.contract.backbone import BackboneInfo, Modality
from headstart_server.backbones.contract.child_process import NICE, end_with_stdin, own_stdout
from headstart_server.backbones.contract.tail import TailMismatch
from headstart_server.backbones.networks.card import Card, digest_of
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.preprocessing.decoding import Decoding, Images, Texts
from headstart_server.backbones.runtimes.openvino_runtime import NETWORK_FILE
from headstart_server.backbones.sources.registry import source_of
from headstart_server.backbones.worker.export_process import REFUSED, Refusal
from headstart_server.backbones.worker.export_request import (
    FACTS_FILE,
    TOKENIZER_FILE,
    ExportFormat,
    ExportRequest,
)

#: The input's name in an exported network.
INPUTS = {Modality.IMAGE: "images", Modality.TEXT: "ids", Modality.TENSOR: "features"}
#: Formats with a single file, which contains the metadata.
_SINGLE_FILES = {ExportFormat.KERAS, ExportFormat.ONNX, ExportFormat.LITERT}


def main(declaration: str, cache: str, request: str, folder: str, conversion: str) -> None:
    """Export a version."""
    stdout = own_stdout()
    end_with_stdin()
    os.nice(NICE)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    export_request = ExportRequest.load(Path(request))
    try:
        export_into(
            Path(folder),
            Declaration.of_json(declaration),
            Path(cache),
            export_request,
            conversion=Path(conversion) if conversion else None,
        )
    except ImportError as error:
        _refuse(stdout, Refusal.NOT_INSTALLED, str(error.name or error))
    except TailMismatch as error:
        _refuse(stdout, Refusal.DAMAGED, str(error))
    except _OtherBackboneError as error:
        _refuse(stdout, Refusal.OTHER_BACKBONE, str(error))
    except (ValueError, NotImplementedError) as error:
        _refuse(stdout, Refusal.FORM, str(error))


def export_into(
    folder: Path,
    declaration: Declaration,
    cache: Path,
    request: ExportRequest,
    *,
    conversion: Path | None = None,
) -> None:
    """Export a version into an empty folder; `conversion` has the OpenVINO network, for that format.

    Raises:
        ImportError: a package that the format needs is not installed.
        TailMismatch: the tail does not belong to this backbone.
        ValueError: the network has an operation that the format lacks.
    """
    if request.form is ExportFormat.OPENVINO:
        _write_openvino(declaration, cache, request, folder, conversion)
    else:
        _write_keras(declaration, cache, request, folder)


class _OtherBackboneError(Exception):
    """The backbone differs from the version's; the message is its digest."""


def _write_openvino(
    declaration: Declaration, cache: Path, request: ExportRequest, folder: Path, conversion: Path | None
) -> None:
    from headstart_server.backbones.worker.openvino_export import (  # noqa: PLC0415 - only for this format
        openvino_version,
        write_openvino,
    )

    if conversion is None:
        network = source_of(declaration).open(declaration, cache)
        info, decoding, digest = network.info, network.decoding, digest_of(network)
    else:
        card = Card.read(conversion)
        info, decoding, digest = card.info, card.decoding, card.digest
    _check(digest, request)
    path = None if conversion is None else conversion / NETWORK_FILE
    model = openvino_version(path, info, request, INPUTS[info.modality])
    facts = _facts(request, info, decoding)
    write_openvino(model, facts, folder)
    _write_metadata(folder, request.form, facts, decoding)


def _write_keras(declaration: Declaration, cache: Path, request: ExportRequest, folder: Path) -> None:
    from headstart_server.backbones.worker.keras_export import (  # noqa: PLC0415 - takes seconds
        keras_version,
        write_keras,
    )

    network = source_of(declaration).open(declaration, cache)
    _check(digest_of(network), request)
    model = keras_version(network, request, INPUTS[network.info.modality])
    facts = _facts(request, network.info, network.decoding)
    write_keras(model, request.form, facts, folder)
    _write_metadata(folder, request.form, facts, network.decoding)


def _check(digest: str, request: ExportRequest) -> None:
    if digest != request.digest:
        raise _OtherBackboneError(digest)


def _facts(request: ExportRequest, info: BackboneInfo, decoding: Decoding) -> dict[str, Any]:
    """Return the metadata of an export: origin, inputs and outputs."""
    takes: dict[str, Any] = {"name": INPUTS[info.modality], "preprocessing": decoding.preprocessing}
    if isinstance(decoding, Images):
        takes |= {"type": "uint8", "shape": ["n", decoding.size, decoding.size, 3], "crop": decoding.crop}
    elif isinstance(decoding, Texts):
        takes |= {
            "type": "int32",
            "shape": ["n", "length"],
            "max_tokens": decoding.max_tokens,
            "pad_id": decoding.pad_id,
        }
    else:
        takes |= {"type": "float32", "shape": ["n", decoding.size]}
    answers = {"name": request.answers.output, "type": "float32", "shape": ["n", len(request.bias)]}
    return {**request.facts, "input": takes, "output": answers}


def _write_metadata(folder: Path, form: ExportFormat, facts: Mapping[str, Any], decoding: Decoding) -> None:
    if form not in _SINGLE_FILES:
        (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
    if isinstance(decoding, Texts):
        (folder / TOKENIZER_FILE).write_text(decoding.tokenizer, encoding="utf-8")


def _refuse(stdout: IO[str], kind: Refusal, message: str) -> NoReturn:
    print(json.dumps({"kind": kind, "message": message[:600]}), file=stdout, flush=True)
    sys.exit(REFUSED)


if __name__ == "__main__":
    main(*sys.argv[1:])
