from dataclasses import replace
from pathlib import Path

import pytest

from headstart_server.backbones.networks.quantization import QuantizationProof, base_name

PROOF = QuantizationProof(
    dataset="digits",
    example_count=1000,
    float_runtime="openvino bfloat16",
    float_accuracy=0.95,
    accuracy=0.951,
    float_calibration_error=0.02,
    calibration_error=0.021,
    float_rows_per_second=200.0,
    rows_per_second=250.0,
)


def test_an_equally_accurate_network_has_no_problem() -> None:
    assert PROOF.problem == ""
    assert PROOF.speedup == 1.25
    assert replace(PROOF, accuracy=0.948).problem == ""
    assert replace(PROOF, calibration_error=0.03).problem == ""


def test_a_less_accurate_network_says_by_how_much() -> None:
    assert "94.60%, and 95.00% in floating point" in replace(PROOF, accuracy=0.946).problem
    assert "3.20%, and 2.00% in floating point" in replace(PROOF, calibration_error=0.032).problem


def test_a_proof_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert QuantizationProof.read(tmp_path) is None
    PROOF.write(tmp_path)

    assert QuantizationProof.read(tmp_path) == PROOF
    assert [path.name for path in tmp_path.iterdir()] == ["proof.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"accuracy": 1}', "\udce4"])
def test_a_damaged_proof_counts_as_missing(tmp_path: Path, content: str) -> None:
    (tmp_path / "proof.json").write_text(content, encoding="utf-8", errors="surrogateescape")

    assert QuantizationProof.read(tmp_path) is None


def test_the_name_ends_with_the_precision() -> None:
    assert base_name("resnet:int8") == "resnet"
    assert base_name("resnet") is None
    assert base_name(":int8") is None
