"""What of an exported program reaches PyTorch: by itself `torch.export.load` runs code of files."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headstart_server.backbones.sources.pytorch.archive import sanitize
from headstart_server.backbones.sources.source import SourceError

SPEC = '[1, {"type": "builtins.tuple", "context": "null", "children_spec": []}]'
TENSOR = {"path_name": "weight_0", "is_param": True, "use_pickle": False, "tensor_meta": {"sizes": []}}


def program() -> dict[str, Any]:
    """A graph of one operation, as PyTorch writes it."""
    sizes = [{"as_expr": {"expr_str": "Symbol('s77', positive=True)", "hint": {"as_int": 2}}}, {"as_int": 3}]
    node = {
        "target": "torch.ops.aten.relu.default",
        "inputs": [{"name": "self", "arg": {"as_tensor": {"name": "x"}}}],
        "outputs": [{"as_tensor": {"name": "relu"}}],
        "metadata": {"stack_trace": 'File "train.py", line 1, in forward: x = relu(y)'},
        "name": "relu",
    }
    return {
        "graph_module": {
            "graph": {
                "nodes": [node],
                "tensor_values": {"x": {"sizes": sizes}},
                "custom_obj_values": {},
            },
            "signature": {"input_specs": [{"user_input": {"arg": {"as_tensor": {"name": "x"}}}}]},
            "module_call_graph": [{"fqn": "", "signature": {"in_spec": SPEC, "out_spec": SPEC}}],
            "metadata": {},
            "treespec_namedtuple_fields": {},
        },
        "guards_code": ["L['x'].size()[0] > 1"],
        "torch_version": "2.13.0+cpu",
    }


def archive(
    path: Path, content: dict[str, Any], tensor: dict[str, Any], kind: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(path, "w", kind) as file:
        file.writestr("own/models/model.json", json.dumps(content))
        file.writestr("own/data/weights/model_weights_config.json", json.dumps({"config": {"w": tensor}}))
        file.writestr("own/data/weights/weight_0", b"\0" * 4)
        file.writestr("own/data/sample_inputs/model.pt", b"a pickle")
        file.writestr("own/data/aotinductor/model/wrapper.so", b"code")
        file.writestr("own/archive_format", b"pt2")
    return path


def test_only_what_is_known_to_be_harmless_is_kept(tmp_path: Path) -> None:
    file, shape = sanitize(archive(tmp_path / "own.pt2", program(), TENSOR))
    assert shape == [None, 3]
    with zipfile.ZipFile(file) as kept:
        assert sorted(kept.namelist()) == [
            "model/archive_format",
            "model/data/sample_inputs/model.pt",
            "model/data/weights/model_weights_config.json",
            "model/data/weights/weight_0",
            "model/models/model.json",
        ]
        assert kept.read("model/data/sample_inputs/model.pt") == b""
        written = json.loads(kept.read("model/models/model.json"))
    assert written["guards_code"] == []
    assert written["graph_module"]["graph"]["nodes"][0]["metadata"] == {}


def node(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["graph_module"]["graph"]["nodes"][0]
    return found


def calling(target: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: node(content).update(target=target)


def sized(expression: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        values = content["graph_module"]["graph"]["tensor_values"]
        values["x"]["sizes"][0]["as_expr"]["expr_str"] = expression

    return change


def named(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: node(content)["inputs"][0]["arg"]["as_tensor"].update(name=name)


def contained(kind: str) -> Callable[[dict[str, Any]], None]:
    spec = json.dumps([1, {"type": kind, "context": "null", "children_spec": []}])
    return lambda content: content["graph_module"]["module_call_graph"][0]["signature"].update(in_spec=spec)


@pytest.mark.parametrize(
    "change",
    [
        calling("torch.os.system"),
        calling("torch.ops.load_library"),
        calling("torch.ops.aten.__class__.mro"),
        calling("torch.ops.aten.from_file.default"),
        calling("torch.ops.mine.run.default"),
        calling("_operator.methodcaller"),
        calling("math.exp"),
        sized("__import__('os').system('true')"),
        sized("Symbol('s77').__class__"),
        sized("Symbol('__import__')"),
        sized("exec(s77)"),
        sized("[s77 for s77 in s77]"),
        sized("s77 ** 999999999"),
        named("x=print(1)"),
        named("x, *y"),
        contained("torch.utils.Evil"),
        lambda content: content["graph_module"]["graph"].update(custom_obj_values={"x": "y"}),
        lambda content: node(content)["inputs"][0].update(arg={"as_graph": {"name": "x"}}),
        lambda content: content["graph_module"]["graph"]["tensor_values"].update({"a b": {}}),
    ],
)
def test_what_could_run_code_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = program()
    change(content)
    with pytest.raises(SourceError, match=r"own\.pt2: Expected a graph of"):
        sanitize(archive(tmp_path / "own.pt2", content, TENSOR))


@pytest.mark.parametrize(
    "expression", ["s0", "Add(Symbol('s77', integer=True), Integer(-1))", "FloorDiv(s0, 2)"]
)
def test_sizes_may_be_sums_and_products(tmp_path: Path, expression: str) -> None:
    content = program()
    sized(expression)(content)
    assert sanitize(archive(tmp_path / "own.pt2", content, TENSOR))[1] == [None, 3]


@pytest.mark.parametrize(
    "tensor",
    [
        {**TENSOR, "use_pickle": True},
        {**TENSOR, "path_name": "custom_obj_0"},
        {**TENSOR, "path_name": "../weights/weight_0"},
        {**TENSOR, "tensor_meta": None},
    ],
)
def test_pickled_tensors_are_refused(tmp_path: Path, tensor: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match=r"own\.pt2: Expected raw tensors"):
        sanitize(archive(tmp_path / "own.pt2", program(), tensor))


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Received: compressed members"):
        sanitize(archive(tmp_path / "own.pt2", program(), TENSOR, zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize(
    "broken", [{}, {"graph_module": []}, [], {"graph_module": {"graph": {"nodes": [3]}}}]
)
def test_what_is_no_program_is_refused(tmp_path: Path, broken: Any) -> None:
    with pytest.raises(SourceError, match=r"Expected a file of torch\.export\.save"):
        sanitize(archive(tmp_path / "own.pt2", broken, TENSOR))
