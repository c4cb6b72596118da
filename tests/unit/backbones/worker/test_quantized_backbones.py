import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from headstart_server.backbones.contract.runtimes import Precision, RuntimeKind, RuntimeSettings
from headstart_server.backbones.networks.card import Card
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.quantization import QuantizationProof
from headstart_server.backbones.sources.source import SourceError
from headstart_server.backbones.worker import quantized_backbones
from headstart_server.backbones.worker.conversions import Conversions
from headstart_server.backbones.worker.quantized_backbones import PrecisionChoice, QuantizedBackbones

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
    processor="vnni",
)
CARD = cast(Card, object())
INACCURATE = replace(PROOF, accuracy=0.9)

Prepared = Callable[..., QuantizedBackbones]


class FoundFolder:
    """Conversions that find the quantized form in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.reads = 0

    def quantized(self, declaration: Declaration) -> tuple[Card, Path] | None:
        if declaration.name != NAME:
            return None
        self.reads += 1
        return CARD, self._folder


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Makes quantized backbones with a proof."""

    def make(
        proof: QuantizationProof | None,
        precision: Precision | None = None,
        *,
        kind: RuntimeKind = RuntimeKind.OPENVINO,
    ) -> QuantizedBackbones:
        if proof is not None:
            proof.write(tmp_path)
        monkeypatch.setattr(quantized_backbones, "processor", lambda: "vnni")
        declared = {name: Declaration(name=name, source=f"keras:{name}") for name in (NAME, "other")}
        conversions = cast(Conversions, FoundFolder(tmp_path))
        return QuantizedBackbones(declared, conversions, RuntimeSettings(kind=kind, precision=precision))

    return make


def test_auto_prefers_what_is_proven_and_faster(prepared: Prepared) -> None:
    found = prepared(PROOF)

    assert found.preferred(NAME) == "resnet:int8"
    assert found.preferred("other") == "other"
    assert found.usable() == [NAME]


@pytest.mark.parametrize(
    ("change", "settings", "reason"),
    [
        ({"accuracy": 0.9}, {}, "accuracy on digits is 90.00%"),
        ({"rows_per_second": 104.0}, {}, "1.04 times as many rows per second"),
        ({"processor": "avx2"}, {}, "another kind of processor.*headstart-server prepare --int8 resnet"),
        ({"processor": ""}, {}, "another kind of processor"),
        ({}, {"kind": RuntimeKind.KERAS}, "Only OpenVINO"),
        ({}, {"precision": Precision.BFLOAT16}, "--precision bfloat16"),
    ],
)
def test_auto_stays_in_floating_point_and_says_why(
    prepared: Prepared, change: dict[str, Any], settings: dict[str, Any], reason: str
) -> None:
    choice = prepared(replace(PROOF, **change), **settings).choice(NAME)

    assert not choice.is_quantized
    assert re.search(f"It is used in floating point.*{reason}", choice.reason)


def test_without_a_quantized_form_there_is_nothing_to_explain(prepared: Prepared) -> None:
    assert prepared(None).choice(NAME) == PrecisionChoice(is_quantized=False, reason="")


def test_the_reason_for_8_bits_names_speed_and_accuracy(prepared: Prepared) -> None:
    choice = prepared(PROOF).choice(NAME)

    assert choice.is_quantized
    assert choice.reason == (
        "In 8 bits it computes 2.00 times as many rows per second as in openvino float32; its accuracy on "
        "digits is 95.00%, and 95.00% in floating point."
    )


def test_a_card_is_read_once(tmp_path: Path) -> None:
    PROOF.write(tmp_path)
    conversions = FoundFolder(tmp_path)
    found = QuantizedBackbones(
        {NAME: Declaration(name=NAME, source="keras:resnet")},
        cast(Conversions, conversions),
        RuntimeSettings(kind=RuntimeKind.OPENVINO),
    )
    assert found.usable() == [NAME]
    assert found.find("resnet:int8") == (CARD, tmp_path)
    assert found.find("resnet:int8") == (CARD, tmp_path)
    assert conversions.reads == 1


def test_int8_needs_a_proof_but_no_gain(prepared: Prepared) -> None:
    slow = prepared(replace(PROOF, rows_per_second=90.0), Precision.INT8)

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
        prepared(None).find("resnet:int8")
    with pytest.raises(SourceError, match="less accurate"):
        prepared(INACCURATE).find("resnet:int8")
    assert prepared(PROOF).find("resnet:int8") == (CARD, tmp_path)


def test_a_proof_counts_at_once(prepared: Prepared) -> None:
    found = prepared(None)
    found.prove(NAME, PROOF)

    assert found.proof(NAME) == PROOF
    assert found.preferred(NAME) == "resnet:int8"
