"""Files of predictions, as tables and after interruptions."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.cli.output.formats import Listing
from headstart.cli.output.prediction_file import PredictionFile, write_rows
from headstart.inputs.inputs import Text
from headstart.inputs.prediction_inputs import NamedInput
from headstart.inputs.task import Task
from headstart.results import PredictedInput, Prediction

CELLS = st.text(alphabet='\r\n",\t ax')


@pytest.mark.parametrize(("suffix", "dialect"), [(".csv", "excel"), (".tsv", "excel-tab")])
@given(cells=st.lists(st.tuples(CELLS, CELLS), max_size=4))
def test_a_table_of_predictions_has_the_cells_of_its_inputs(suffix, dialect, cells):
    rows = [{"text": text, "predicted_label": label} for text, label in cells]
    file = io.StringIO(newline="")

    write_rows(file, suffix, lambda: iter(rows))

    file.seek(0)
    assert list(csv.DictReader(file, dialect=dialect)) == rows


@given(cells=st.lists(st.tuples(CELLS, CELLS), max_size=4))
def test_a_list_as_csv_has_the_cells_of_its_items(cells):
    text = Listing(names=(), columns=("name", "label"), rows=cells).csv()

    assert list(map(tuple, csv.reader(io.StringIO(text, newline="")))) == [("name", "label"), *cells]


class InterruptedFile(io.BufferedRandom):
    """A file with one Ctrl-C when its bytes have just been written."""

    is_interrupted = False

    def flush(self) -> None:
        super().flush()
        if not self.is_interrupted:
            self.is_interrupted = True
            raise KeyboardInterrupt


def write_predictions(path: Path, names: list[str], file: io.BufferedRandom | None = None) -> None:
    prediction = Prediction(model="m", version=3, classes=(), task=Task.REGRESSION, predicted=1.0)
    with PredictionFile(path, {}, abstains=False) as predictions:
        if file is not None:
            predictions._file.close()
            predictions._file = file
        for item in predictions.missing(NamedInput(name, Text(name)) for name in names):
            predictions.add(PredictedInput(name=item.name, cells={}, outcome=prediction), prediction)
        predictions.finish()


def test_rows_that_an_interruption_found_written_are_not_written_again(tmp_path):
    path, names = tmp_path / "out.csv", [str(place) for place in range(300)]
    partial = path.with_name("out.csv.partial")

    with pytest.raises(KeyboardInterrupt):
        write_predictions(path, names, InterruptedFile(io.FileIO(partial, "ab+")))
    write_predictions(path, names)

    with path.open(newline="") as file:
        assert [row["input"] for row in csv.DictReader(file)] == names
