import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headstart_server.learning.analysis.dataset_findings import LearningPoint
from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.evaluation import ValuePair
from headstart_server.report.charts import error_chart, learning_chart, value_chart
from headstart_server.report.plots import Scale, nice_ticks


def test_a_scale_takes_figures_to_places():
    scale = Scale(low=0, high=10, start=100, end=0)

    assert (scale(0), scale(5), scale(10)) == (100, 50, 0)


def test_on_a_logarithmic_scale_equal_ratios_have_equal_lengths():
    scale = Scale(low=10, high=1000, start=0, end=2, logarithmic=True)

    assert scale(100) == pytest.approx(1)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 97, [0, 20, 40, 60, 80]), (3, 3, [3])],
)
def test_ticks_are_round(low, high, ticks):
    assert nice_ticks(low, high) == pytest.approx(ticks)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e9))
def test_ticks_are_few_and_within(low, width):
    ticks = nice_ticks(low, low + width)

    assert len(ticks) <= 12
    assert all(low - 1e-6 * width <= tick <= low + 1.000001 * width for tick in ticks)


@example([(0.0, 5e-324)])
@given(st.lists(st.tuples(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12)), min_size=1, max_size=40))
def test_any_numbers_can_be_drawn(pairs):
    values = [ValuePair(actual=actual, predicted=predicted) for actual, predicted in pairs]

    for chart in (value_chart(values), error_chart(values)):
        assert "nan" not in chart
        assert "inf" not in chart


def test_every_error_is_counted():
    chart = error_chart([ValuePair(actual=0, predicted=error) for error in (-1, 0, 0, 1, 1, 1)])

    assert sum(int(part.split(" ")[0]) for part in chart.split("<title>")[2:]) == 6


@pytest.mark.parametrize("scores", [[0.5, 0.5], [0.0, 1.0], [-3.0, 0.9, 0.95]])
def test_any_learning_curve_can_be_drawn(scores):
    points = [
        LearningPoint(example_count=10 * 2**place, score=score, extrapolated=place == len(scores) - 1)
        for place, score in enumerate(scores)
    ]

    assert "nan" not in learning_chart(points, Task.SINGLE_LABEL)
    assert "extrapolated" in learning_chart(points, Task.SINGLE_LABEL)
