"""The objects that the settings alone determine."""

import json
from pathlib import Path
from unittest import mock

from headstart_server.api.http.json_text import FEW_VALUES
from headstart_server.app.configured import dataset_reader
from headstart_server.settings.settings import Settings


def test_lists_at_uris_full_of_values_are_not_read_by_python_which_keeps_its_lock(tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    folder.mkdir()
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "y", "more": [[]] * 50_000}]
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    reader = dataset_reader(Settings.of(data_dir=tmp_path / "data", allow_dataset_uri=[str(folder)]))
    assert reader is not None
    with mock.patch.object(json, "loads", wraps=json.loads) as loads:
        examples = list(reader.examples(f"file://{folder}/list.jsonl", lambda: None))
    assert [each.content for each in examples] == ["a", "b"]
    assert max(call.args[0].count("[") for call in loads.call_args_list) <= FEW_VALUES
