"""The tables of the comparison with other servers: who is compared with whom, and by which load."""

from typing import Any

import pytest

from peers import contenders, measuring, tables


def measured(title: str, *, rate: float, memory: int = 100, failures: int = 0) -> measuring.Measured:
    """Return what a contender did, with twice the rate by h2load."""

    def loads(factor: float) -> dict[int, dict[str, Any]]:
        figures = {"p50_ms": 1.0, "p99_ms": 2.0, "failures": {"x": failures} if failures else {}}
        return {callers: {"per_second": factor * rate, **figures} for callers in (8, 32)}

    return measuring.Measured(
        title=title, variants=1, ready_seconds=2.0, memory=memory, loads=loads(1), light_loads=loads(2)
    )


def rows(printed: str, title: str) -> list[list[str]]:
    """Return the rows of a printed table without its head."""
    lines = printed[printed.index(f"**{title}**") :].split("\n\n")[1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> str:
    int8, floating = (each.title for each in contenders.headstarts())
    tables.print_tables(
        [
            measured(int8, rate=300),
            measured(floating, rate=240),
            measured("Minimal gRPC server, openvino", rate=200),
            measured("LitServe, keras", rate=50),
            measured("KServe, keras", rate=60, memory=400),
            measured("KServe, openvino", rate=120),
            measured("KServe, openvino-int8", rate=150, failures=3),
        ],
        (1, 8, 32),
    )
    return capsys.readouterr().out


def test_each_precision_is_compared_with_the_best_of_each_group(printed: str) -> None:
    found = rows(printed, "How many times better Headstart is than the best of the others in each")
    ratios = {
        (row[1].rpartition(" ")[2], row[2].partition(",")[0].partition(" (")[0]): row[3:] for row in found
    }
    floating = contenders.headstarts()[1].flavor
    assert len(found) == 8
    # By h2load with 8 and 32 callers, by the client in Python, then memory and start.
    assert ratios["int8", "best peer as documented"] == ["5.00"] * 4 + ["1.00"] * 2
    assert ratios["int8", "best peer with OpenVINO in its best precision"][0] == "2.50"
    assert ratios["int8", "best peer with OpenVINO"][0] == "2.00"
    assert ratios[floating, "best peer as documented"][0] == "4.00"
    assert ratios[floating, f"minimal hand-written gRPC server with OpenVINO in {floating}"][0] == "1.20"


def test_both_loads_have_a_table_and_failed_calls_are_named(printed: str) -> None:
    python = rows(printed, "One network, one 640 x 480 JPEG a call")
    h2load = rows(printed, "The same, with load from h2load")
    assert [row[0] for row in python] == [row[0] for row in h2load]
    assert python[0][4] == "300"
    assert h2load[0][4] == "600"
    assert python[-1][0] == "KServe, openvino-int8: 12 calls failed"


def test_what_was_not_measured_has_no_row(capsys: pytest.CaptureFixture[str]) -> None:
    floating = contenders.headstarts()[1].title
    tables.print_tables([measured(floating, rate=240), measured("LitServe, keras", rate=60)], (1, 8, 32))
    found = rows(
        capsys.readouterr().out, "How many times better Headstart is than the best of the others in each"
    )
    assert [row[1:3] for row in found] == [[floating, "best peer as documented (Keras)"]]
