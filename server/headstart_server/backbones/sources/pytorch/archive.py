"""Sanitize exported programs before `torch.export.load`, which would run code in files.

`torch.export.load` unpickles weights, constants and example inputs that are marked as pickled, and evaluates
sizes as Python: in PyTorch 2.13, each of these could run a command. It generates source from names. It also
resolves the targets of nodes in all of `torch`, `math` and `operator` before it checks whether they are
operations. So a file is parsed here first, and rewritten with only harmless content: raw tensors, a graph of
ATen's operations, valid names, and sizes that are sums and products. Example inputs, guards and notes on the
origin of nodes are unneeded, so they are omitted.
"""

import ast
import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart_server.backbones.sources.source import SourceError
from headstart_server.storage.zip_member import check_disjoint

_MODEL = re.compile(r"models/([A-Za-z0-9_.-]+)\.json")
_TENSOR = re.compile(r"data/(weights|constants)/(weight|tensor)_\d+")
_CONFIG = re.compile(r"data/(weights|constants)/[A-Za-z0-9_.-]+_(weights|constants)_config\.json")
_OF_ARCHIVE = {"archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id"}
_NAME = re.compile(r"[A-Za-z0-9_.]*")
#: Operations of ATen, and operations on sizes.
_TARGET = re.compile(r"torch\.ops\.aten\.(?!from_file\.)_?[A-Za-z0-9]\w*\.[A-Za-z0-9]\w*", re.ASCII)
_ON_SIZES = {f"_operator.{name}" for name in ("getitem", "add", "sub", "mul", "floordiv", "mod", "neg")}
_SYMBOL = re.compile(r"[su]\d+")
#: Allowed parts of sizes in SymPy's form.
_CALLS = {
    "Symbol",
    "Integer",
    "Add",
    "Mul",
    "FloorDiv",
    "CleanDiv",
    "CeilDiv",
    "Mod",
    "PythonMod",
    "Max",
    "Min",
}
_NODE_TYPES = (ast.Expression, ast.Call, ast.Name, ast.Load, ast.keyword, ast.Constant, ast.UnaryOp, ast.USub)
#: Containers of inputs and outputs.
_CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict"}


def sanitize(path: Path) -> tuple[io.BytesIO, list[int | None]]:
    """Sanitize a file of `torch.export.save` for `torch.export.load`.

    Returns:
        The file, and the shape of the network's input, with None for sizes that may vary.

    Raises:
        SourceError: the file has another format, or content that could run code.
    """
    try:
        members = _members(path)
        (model,) = [name for name in members if _MODEL.fullmatch(name)]
        program = json.loads(members[model])
        _leave_out(program)
        _check(program, "")
        for name in members:
            if _CONFIG.fullmatch(name):
                _check_tensors(json.loads(members[name]), name)
        members[model] = json.dumps(program).encode()
        members[f"data/sample_inputs/{model.removeprefix('models/').removesuffix('.json')}.pt"] = b""
        return _written(members), _input_shape(program)
    except SourceError as error:
        raise SourceError(f"{path.name}: {error}") from error
    # Damaged or crafted files raise nearly any exception.
    except Exception as error:
        raise SourceError(
            f"Expected a file of torch.export.save, with raw tensors in it. Received: {path.name}, "
            f"{type(error).__name__}: {error}"
        ) from error


def _members(path: Path) -> dict[str, bytes]:
    """Return the needed members of an archive, without its common folder."""
    members = {}
    with zipfile.ZipFile(path) as archive:
        check_disjoint(archive.infolist(), path.stat().st_size)
        for member in archive.infolist():
            name = member.filename.partition("/")[2]
            kept = name in _OF_ARCHIVE or any(one.fullmatch(name) for one in (_MODEL, _TENSOR, _CONFIG))
            if not kept:
                continue
            # PyTorch does not compress members; rejecting compressed ones bounds memory by the file's size.
            if member.compress_type != zipfile.ZIP_STORED:
                raise SourceError("Expected an uncompressed archive. Received: compressed members.")
            members[name] = archive.read(member)
    return members


def _written(members: Mapping[str, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(f"model/{name}", content)
    file.seek(0)
    return file


def _leave_out(program: dict[str, Any]) -> None:
    """Remove notes on the origin of a graph, and the guards, which are Python."""
    program["guards_code"] = []
    module = program["graph_module"]
    module["metadata"], module["treespec_namedtuple_fields"] = {}, {}
    module["module_call_graph"] = [one for one in module["module_call_graph"] if one["fqn"] == ""]
    for node in module["graph"]["nodes"]:
        node["metadata"] = {}


def _check(value: Any, key: str) -> None:
    """Reject everything except numbers, names and harmless expressions in a part `value` at a `key`."""
    if isinstance(value, dict):
        if value.get("custom_obj_values") or "as_custom_obj" in value or "as_graph" in value:
            raise SourceError("Expected a graph of tensors. Received: objects or graphs inside it.")
        for name, inner in value.items():
            _check_text(name, "name")
            _check(inner, name)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, key)
    elif isinstance(value, str):
        _check_text(value, key)


def _check_text(text: str, key: str) -> None:
    if key == "target":
        good = _TARGET.fullmatch(text) is not None or text in _ON_SIZES
    elif key == "expr_str":
        good = _is_size(text)
    elif key in {"in_spec", "out_spec"}:
        good = _is_containers(json.loads(text))
    elif key in {"as_string", "torch_version"}:
        good = len(text) <= 200 and text.isprintable()  # it is a value, and never becomes source
    else:
        good = _NAME.fullmatch(text) is not None
    if not good:
        raise SourceError(
            f"Expected a graph of PyTorch's own operations, names and sizes, for loading runs no code. "
            f"Received: {key} {text[:100]!r}."
        )


def _is_size(text: str) -> bool:
    """Return whether an expression has only integers and symbols, because it is evaluated as Python."""
    tree = ast.parse(text, mode="eval")
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, _NODE_TYPES):
            return False
        if isinstance(node, ast.Call) and not isinstance(node.func, ast.Name):
            return False
        if isinstance(node, ast.Name) and not (
            node.id in _CALLS if node in called else _SYMBOL.fullmatch(node.id)
        ):
            return False
        if isinstance(node, ast.Constant) and not (
            isinstance(node.value, int) or (isinstance(node.value, str) and _SYMBOL.fullmatch(node.value))
        ):
            return False
    return True


def _is_containers(spec: Any) -> bool:
    """Return whether inputs or outputs are in Python's built-in containers, by names."""
    if isinstance(spec, list):
        return all(isinstance(one, int) or _is_containers(one) for one in spec)
    context = json.loads(spec["context"]) if spec["context"] else None
    named = isinstance(context, list) and all(
        isinstance(one, str) and _NAME.fullmatch(one) for one in context
    )
    plain = spec["type"] in _CONTAINERS and (context is None or named)
    return plain and all(_is_containers(one) for one in spec["children_spec"])


def _check_tensors(config: Any, name: str) -> None:
    for tensor, facts in config["config"].items():
        path = f"{name.rpartition('/')[0]}/{facts['path_name']}"
        if facts["use_pickle"] is not False or not _TENSOR.fullmatch(path) or not facts["tensor_meta"]:
            raise SourceError(
                f"Expected raw tensors, for loading runs no code. Received: {tensor[:100]!r}, which is "
                "pickled. Move the network to the CPU and save it again."
            )
    _check(config, "")


def _input_shape(program: Any) -> list[int | None]:
    module = program["graph_module"]
    inputs = [
        spec["user_input"]["arg"] for spec in module["signature"]["input_specs"] if "user_input" in spec
    ]
    if len(inputs) != 1 or "as_tensor" not in inputs[0]:
        raise SourceError(f"Expected a network of one input, images. Received: {len(inputs)}.")
    sizes = module["graph"]["tensor_values"][inputs[0]["as_tensor"]["name"]]["sizes"]
    return [size.get("as_int") for size in sizes]
