"""What may be declared of a backbone, and what is said of what may not."""

import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart_server.backbones.networks.declaration import (
    Declaration,
    DeclarationError,
    declared,
    read_declarations,
)
from headstart_server.backbones.sources.registry import SOURCES, source_of

DOCUMENT = Path(__file__).parents[4] / "docs" / "operate" / "backbones.md"

numbers = st.floats(0.001, 1000.0)
channels = st.one_of(st.just(()), st.tuples(numbers), st.tuples(numbers, numbers, numbers))
declarations = st.builds(
    Declaration,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,62}", fullmatch=True),
    source=st.builds(
        "{}:{}".format, st.text(string.ascii_lowercase, min_size=1), st.text(string.ascii_letters, min_size=1)
    ),
    digest=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
    size=st.none() | st.integers(8, 2048),
    crop=st.none() | st.floats(0.01, 1.0),
    scale=st.none() | numbers,
    mean=channels,
    std=channels,
    channels=st.sampled_from([None, "rgb", "bgr"]),
    pooling=st.sampled_from([None, "avg", "max", "first", "none"]),
    layer=st.none() | st.text(string.printable.strip(), min_size=1),
)


@given(declarations)
def test_another_process_reads_what_was_declared(declaration: Declaration) -> None:
    assert Declaration.of_json(declaration.as_json()) == declaration


@given(st.text())
def test_any_flag_is_a_declaration_or_refused_in_words(text: str) -> None:
    try:
        said = Declaration.of_flag(text).source.partition(":")
    except DeclarationError as error:
        said = str(error).partition("Received: ")
    assert all(said)


def test_a_flag_has_settings_as_a_file_has() -> None:
    assert Declaration.of_flag(
        "own=torch-weights:/a,b.pth,architecture=resnet18,size=96,mean=[0.5, 0.4, 0.3],license='MIT'"
    ) == Declaration(
        name="own",
        source="torch-weights:/a,b.pth",
        architecture="resnet18",
        size=96,
        mean=(0.5, 0.4, 0.3),
        license="MIT",
    )
    with pytest.raises(DeclarationError, match="size: Expected pixels"):
        Declaration.of_flag("own=keras:VGG16,size=big")


def test_one_number_for_all_channels_needs_no_list() -> None:
    declaration = Declaration.of_flag("own=keras-file:/a.keras,mean=127.5,std=[127.5]")
    assert (declaration.mean, declaration.std) == ((127.5,), (127.5,))


@pytest.mark.parametrize(
    ("flag", "name", "source"),
    [
        ("keras:MobileNetV2", "keras-MobileNetV2", "keras:MobileNetV2"),
        ("small=keras:MobileNetV2", "small", "keras:MobileNetV2"),
        ("hf:google/vit-base", "hf-google-vit-base", "hf:google/vit-base"),
        ("onnx:https://host/net.onnx?v=1", "onnx-https-host-net.onnx-v-1", "onnx:https://host/net.onnx?v=1"),
    ],
)
def test_a_flag_names_a_backbone_or_its_source_does(flag: str, name: str, source: str) -> None:
    declaration = Declaration.of_flag(flag)
    assert (declaration.name, declaration.source) == (name, source)


def test_a_file_declares_backbones_and_paths_are_next_to_it(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        """
[backbones.leaves]
source = "keras-file:./leaves.keras"
mean = [0.485, 0.456, 0.406]
size = 96

[backbones.small]
source = "keras:MobileNetV3Small"
weights = "../small.weights.h5"
"""
    )
    leaves, small = read_declarations(tmp_path)
    assert leaves == Declaration(
        name="leaves",
        source=f"keras-file:{tmp_path.resolve()}/leaves.keras",
        mean=(0.485, 0.456, 0.406),
        size=96,
    )
    assert small == Declaration(
        name="small",
        source="keras:MobileNetV3Small",
        weights=f"{tmp_path.resolve().parent}/small.weights.h5",
    )
    assert declared(tmp_path / "own.toml", ["extra=keras:Xception"])[-1].name == "extra"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[backbones.a]\nsource = 'keras'", "SCHEME:LOCATION"),
        ("[backbones.a]\nsize = 32", "The source is missing. Add one"),
        ("[backbones.a]\nsource = 'keras:X'\nsize = 4", "size: Expected pixels, 8 to 2,048. Received: 4."),
        ("[backbones.a]\nsource = 'keras:X'\nsize = '32'", "size: Expected pixels"),
        ("[backbones.a]\nsource = 'keras:X'\nmean = [1, 2]", "mean: Expected one number or three"),
        ("[backbones.a]\nsource = 'keras:X'\nstd = [0.0]", "std: Expected one number above 0"),
        ("[backbones.a]\nsource = 'keras:X'\ndigest = 'abc'", "digest: Expected SHA-256"),
        ("[backbones.a]\nsource = 'keras:X'\nsizes = 3", "Received: 'sizes'."),
        ("[backbones.auto]\nsource = 'keras:X'", "name: Expected letters, digits"),
        ("[backbones.a]\nsource = 'keras:X'\nfeatures = 3", "Received: 'features'."),
        ("[backbones.a]\nsource = 'keras:X'\nmean = true", "mean: Expected one number or three"),
        ("[backbones.'a b']\nsource = 'keras:X'", "name: Expected letters"),
        ("[backbone.a]\nsource = 'keras:X'", "Expected tables [backbones.NAME] only. Received: backbone."),
        ("backbones = 3", "must have a table [backbones.NAME]"),
        ("[backbones.a", "cannot be read as TOML"),
    ],
)
def test_what_cannot_be_is_reported_with_its_file(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(content)
    with pytest.raises(DeclarationError) as caught:
        read_declarations(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"none\.toml: No such file or directory"):
        read_declarations(tmp_path / "none.toml")
    with pytest.raises(DeclarationError, match=r"has no \.toml file\. Add one"):
        read_declarations(tmp_path)


def test_two_backbones_of_one_name_are_refused_unless_they_are_the_same() -> None:
    same = ["a=keras:Xception", "a=keras:Xception"]
    assert len(declared(None, same)) == 1
    with pytest.raises(DeclarationError, match="named 'a': keras:Xception and keras:VGG16"):
        declared(None, ["a=keras:Xception", "a=keras:VGG16"])


def test_an_unknown_source_is_reported_with_those_there_are() -> None:
    with pytest.raises(DeclarationError) as caught:
        source_of(Declaration(name="a", source="coffee:beans"))
    assert all(scheme in str(caught.value) for scheme in SOURCES)


def test_a_setting_that_its_source_does_not_heed_is_refused() -> None:
    with pytest.raises(DeclarationError, match="Received: max_tokens"):
        source_of(Declaration(name="a", source="keras:VGG16", max_tokens=7))


def test_the_table_of_the_documentation_shows_every_source() -> None:
    table = DOCUMENT.read_text().partition("`--backbone` |")[2].partition("\n\n")[0]
    shown = [Declaration.of_flag(flag) for flag in re.findall(r"\| `([^`]+:[^`]+)`", table)]
    assert all(source_of(declaration) for declaration in shown)
    assert {declaration.scheme for declaration in shown} == set(SOURCES)
