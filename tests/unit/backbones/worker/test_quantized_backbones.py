from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from headstart_server.backbones.contract.runtimes import Precision, RuntimeKind, RuntimeSettings
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.quantization import QuantizationProof
from headstart_server.backbones.sources.source import SourceError
from headstart_server.backbones.worker import quantized_backbones
from headstart_server.backbones.worker.conversions import Conversions
from headstart_server.backbones.worker.quantized_backbones import QuantizedBackbones

NAME = "resnet"
PROOF = QuantizationProof(
    dataset="digits",
    example_count=1000,
    float_runtime="openvino float32",
    float_accuracy=0.95,
    accuracy=0.95,
    float_calibration_error=0.02,
    calibration_error=0.02,
    float_rows_per_second=100.0,
    rows_per_second=200.0,
)
INACCURATE = replace(PROOF, accuracy=0.9)

Prepared = Callable[..., QuantizedBackbones]


class FoundFolder:
    """Conversions that find the quantized form in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def quantized(self, declaration: Declaration) -> Path | None:
        return self._folder if declaration.name == NAME else None


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Makes quantized backbones with a proof, on a processor that multiplies 8-bit integers or not."""

    def make(
        proof: QuantizationProof | None,
        precision: Precision | None = None,
        *,
        kind: RuntimeKind = RuntimeKind.OPENVINO,
        has_int8: bool = True,
    ) -> QuantizedBackbones:
        if proof is not None:
            proof.write(tmp_path)
        monkeypatch.setattr(quantized_backbones, "has_int8", lambda: has_int8)
        declared = {name: Declaration(name=name, source=f"keras:{name}") for name in (NAME, "other")}
        conversions = cast(Conversions, FoundFolder(tmp_path))
        return QuantizedBackbones(declared, conversions, RuntimeSettings(kind=kind, precision=precision))

    return make


def test_auto_prefers_what_is_proven_and_faster(prepared: Prepared) -> None:
    found = prepared(PROOF)

    assert found.preferred(NAME) == "resnet:int8"
    assert found.preferred("other") == "other"
    assert found.usable() == [NAME]


def test_auto_stays_in_floating_point_for_each_reason(prepared: Prepared, tmp_path: Path) -> None:
    assert prepared(None).preferred(NAME) == NAME
    assert prepared(INACCURATE).preferred(NAME) == NAME
    assert prepared(replace(PROOF, rows_per_second=104.0)).preferred(NAME) == NAME
    assert prepared(PROOF, has_int8=False).preferred(NAME) == NAME
    assert prepared(PROOF, kind=RuntimeKind.KERAS).preferred(NAME) == NAME
    assert prepared(PROOF, Precision.BFLOAT16).preferred(NAME) == NAME


def test_int8_needs_a_proof_but_no_gain(prepared: Prepared) -> None:
    slow = prepared(replace(PROOF, rows_per_second=90.0), Precision.INT8, has_int8=False)

    assert slow.preferred(NAME) == "resnet:int8"
    slow.require(NAME)
    slow.require("resnet:int8")


@pytest.mark.parametrize(
    ("proof", "kind", "reason"),
    [
        (None, RuntimeKind.OPENVINO, "not prepared"),
        (INACCURATE, RuntimeKind.OPENVINO, "accuracy on digits is 90.00%"),
        (PROOF, RuntimeKind.KERAS, "Only OpenVINO"),
    ],
)
def test_a_server_in_int8_names_what_is_missing(
    prepared: Prepared, proof: QuantizationProof | None, kind: RuntimeKind, reason: str
) -> None:
    found = prepared(proof, Precision.INT8, kind=kind)

    with pytest.raises(SourceError, match=f"{reason}.*headstart-server prepare --int8 resnet"):
        found.require(NAME)


def test_only_what_is_proven_has_a_folder(prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not prepared"):
        prepared(None).folder("resnet:int8")
    with pytest.raises(SourceError, match="less accurate"):
        prepared(INACCURATE).folder("resnet:int8")
    assert prepared(PROOF).folder("resnet:int8") == tmp_path


def test_a_proof_counts_at_once(prepared: Prepared) -> None:
    found = prepared(None)
    found.prove(NAME, PROOF)

    assert found.proof(NAME) == PROOF
    assert found.preferred(NAME) == "resnet:int8"
