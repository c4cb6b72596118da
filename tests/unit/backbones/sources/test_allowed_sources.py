"""Where declared backbones may come from, and that callers name none but declared ones."""

from pathlib import Path

import pytest

from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.networks.declaration import Declaration, DeclarationError
from headstart_server.backbones.sources.allowed_sources import check_sources
from headstart_server.errors import BackboneNotFound


def declared(source: str, **settings: str) -> list[Declaration]:
    return [Declaration(name="mine", source=source, **settings)]


@pytest.mark.parametrize(
    ("prefix", "source"),
    [
        ("keras:", "keras:MobileNetV3Small"),
        ("keras:MobileNetV3Small", "keras:MobileNetV3Small"),
        ("hf:org", "hf:org/name"),
        ("hf:org/", "hf:org/name@main"),
        ("hf:org/name", "hf:org/name@main"),
        ("/models", "onnx:/models/a.onnx"),
        ("onnx:/models/", "onnx:/models/inner/a.onnx"),
        ("onnx:", "onnx:/anywhere/a.onnx"),
    ],
)
def test_sources_that_begin_so_are_allowed(prefix: str, source: str) -> None:
    check_sources(declared(source), ["timm:", prefix])
    check_sources(declared(source), [])


@pytest.mark.parametrize(
    ("prefix", "source"),
    [
        ("keras:", "keras-file:/models/a.keras"),
        ("keras", "keras-file:/models/a.keras"),
        ("keras:MobileNet", "keras:MobileNetV3Small"),
        ("hf:org", "hf:organism/name"),
        ("hf:org", "timm:org/name"),
        ("/models", "onnx:/modelsecret/a.onnx"),
        ("/models", "onnx:/models/../etc/a.onnx"),
        ("/models", "hf:models/a"),
        ("onnx:/models", "savedmodel:/models/a"),
        ("", "keras:MobileNetV3Small"),
    ],
)
def test_all_others_are_refused_by_name(prefix: str, source: str) -> None:
    with pytest.raises(DeclarationError, match=r"'mine', source: .*--allow-backbone"):
        check_sources(declared(source), [prefix])


def test_weights_lie_where_files_are_allowed_and_not_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "link").symlink_to(tmp_path)
    allowed = ["keras:", str(tmp_path / "models")]
    check_sources(declared("keras:ResNet50", weights=f"{tmp_path}/models/a.h5"), allowed)
    for weights in (f"{tmp_path}/a.h5", f"{tmp_path}/models/link/a.h5"):
        with pytest.raises(DeclarationError, match="weights"):
            check_sources(declared("keras:ResNet50", weights=weights), allowed)


@pytest.mark.parametrize(
    "name",
    [
        "keras:MobileNetV3Small",
        "mine=keras:MobileNetV3Small",
        "hf:org/name",
        "onnx:/etc/passwd",
        "file:///etc/passwd",
        "https://169.254.169.254/a",
        "../../etc/passwd",
        "/etc/passwd",
        "efficientnet-lite:0",
        "features:../3",
    ],
)
def test_no_caller_names_a_source(name: str) -> None:
    catalog = Catalog()
    for call in (catalog.info, catalog.load, catalog.prepare):
        with pytest.raises(BackboneNotFound):
            call(name)
