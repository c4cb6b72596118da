"""A model, and its feedback with a policy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import FakeBackbone, JobDriver
from feedback_bench import FeedbackBench
from workbench import Workbench, pets


@pytest.fixture
def bench(tmp_path: Path, driver: JobDriver) -> Iterator[Workbench]:
    bench = Workbench(tmp_path, driver, FakeBackbone("other", digest="c" * 64))
    bench.published(pets(4), alias="stable")
    yield bench
    bench.close()


@pytest.fixture
def feedback(bench: Workbench) -> FeedbackBench:
    feedback = FeedbackBench(bench)
    feedback.set_policy()
    return feedback
