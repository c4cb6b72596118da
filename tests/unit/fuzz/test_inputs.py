"""What fuzzing begins from is taken by the parsers: damage to what is refused anyway would find nothing."""

import json
from collections.abc import Callable, Sequence

import pytest

from fuzz import inputs, targets
from headstart_server.models import evidence, store
from headstart_server.models.version import Manifest
from headstart_server.models.version_files import decode_evaluation

GOOD: dict[str, tuple[Callable[[], Sequence[bytes]], Callable[[bytes], object]]] = {
    "typicality": (inputs.typicality_model, evidence.typicality_model_from_bytes),
    "neighbors": (inputs.neighbors, evidence.neighbors_of),
    "evaluations": (inputs.evaluations, decode_evaluation),
    "manifests": (inputs.manifests, lambda content: Manifest.from_json(json.loads(content))),
    "heads": (inputs.heads, targets.head),
    "tails": (inputs.tails, lambda content: store.decode_tail(content, 1)),
    "fine-tune": (inputs.stream, targets.fine_tune),
    "lists": (lambda: [targets.list_file(each) for each in inputs.lists()], targets.named),
    "JSON bodies": (inputs.json_bodies, targets.json_body),
    "forms": (inputs.forms, targets.form),
    "example lists": (inputs.example_lists, targets.stored_list),
    "uris": (inputs.uris, targets.uri),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_inputs_are_taken(name: str) -> None:
    make, parse = GOOD[name]
    contents = make()
    assert contents
    for content in contents:
        assert parse(content) is not None
