"""Files of predictions, as tables and after interruptions."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.cli.output.formats import Listing
from headstart.cli.output.prediction_file import write_rows

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
