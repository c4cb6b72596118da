"""The tables of `make bench`: each precision has its figures, and the first one must reach the targets."""

import pytest

import bench
from speed import H2LOAD, PYTHON, Share, Speed
from targets import Target

KERAS = {"seconds": 60.0, "accuracy": 0.85}
NETWORKS = {
    "int8": {"engine": 500.0, "alone": 520.0},
    "bfloat16": {"engine": 400.0, "alone": 410.0},
    "float32": {"engine": 200.0, "alone": 201.0},
}


def measured(*, seconds: float, share: float) -> bench.Measured:
    """Return figures of a precision."""
    load = {"per_second": 300.0, "p50_ms": 20.0, "p99_ms": 40.0}
    return bench.Measured(
        start=(1.2, 250_000_000),
        photographs=(seconds, 0.1),
        digits={"seconds": seconds, "accuracy": 0.93, "features": 0.4, "fit": 0.05},
        speed=Speed(
            loads={generator: dict.fromkeys((1, 8, 32), load) for generator in (H2LOAD, PYTHON)},
            shares={callers: Share(share=share, rate=270.0, limit=300.0) for callers in (8, 32)},
            empty=3000.0,
        ),
        rows={"Predict": 1600.0, "ModelInfer": 1400.0},
        memory=300 << 20,
    )


BOTH = {"int8": measured(seconds=0.4, share=0.92), "bfloat16": measured(seconds=2.0, share=0.8)}


def reached(targets: list[Target]) -> dict[str, bool]:
    """Return whether each target is reached, by the beginning of what it measures."""
    return {each.what.partition(",")[0].partition(":")[0]: each.reached for each in targets}


def test_the_first_precision_must_reach_the_targets() -> None:
    found = reached(bench.precision_targets(BOTH, NETWORKS, KERAS))
    assert len(found) == 7
    assert all(found.values()), found
    slower = reached(bench.precision_targets(dict(reversed(BOTH.items())), NETWORKS, KERAS))
    assert not slower["FineTune call to first Predict"]
    assert not slower["Predict"]
    assert not slower["compared with the common Keras recipe"]


def test_what_was_not_measured_has_no_target() -> None:
    networks = {"bfloat16": NETWORKS["bfloat16"]}
    found = reached(bench.precision_targets({"bfloat16": BOTH["bfloat16"]}, networks, {}))
    assert not any(what.startswith(("compared", "features a second")) for what in found)


def test_each_precision_and_generator_has_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    bench.print_tables(BOTH, NETWORKS, KERAS, [("more", "1 s")])
    printed = capsys.readouterr().out
    row = "300 | 20 ms | 40 ms"
    assert f"| int8 | 8 | {row} | {row} | 92% (270 of 300/s) |" in printed
    assert f"| bfloat16 | 1 | {row} | {row} |  |" in printed
    assert "| float32 | 200 | 100% |" in printed
    assert "| Headstart in int8, FineTune call to published version | 0.40 | 93.0% |" in printed
    assert "| more | 1 s |" in printed
