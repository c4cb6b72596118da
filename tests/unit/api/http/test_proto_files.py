"""The exported protos compile by themselves, and mean the same as the contract."""

import io
import shutil
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc
from typer.testing import CliRunner

from headstart.v1 import job_pb2
from headstart_server.__main__ import command
from headstart_server.api.http.proto_files import DESCRIPTORS, protos_archive, write_protos


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("protos")
    assert write_protos(folder) == len(list(folder.rglob("*.proto")))
    return folder


def compiled(folder: Path, target: Path, *options: str) -> dict[str, FileDescriptorProto]:
    """Compile all protos of a folder without any other include path."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.proto"))
    output = target / "compiled.binpb"
    arguments = [f"-I{folder}", f"--descriptor_set_out={output}", *options, *names]
    assert protoc._protoc_compiler.run_main([each.encode() for each in ["protoc", *arguments]]) == 0
    return {file.name: file for file in FileDescriptorSet.FromString(output.read_bytes()).file}


def test_the_exported_protos_compile_to_the_descriptors_of_the_contract(
    exported: Path, tmp_path: Path
) -> None:
    expected = FileDescriptorSet.FromString((exported / DESCRIPTORS).read_bytes()).file
    found = compiled(exported, tmp_path)
    assert {file.name for file in expected} == set(found)
    ours = [file for file in expected if file.name.startswith("headstart/")]
    assert len(ours) >= 12
    for file in (*ours, *(each for each in expected if each.name == "google/protobuf/timestamp.proto")):
        again = found[file.name]
        for each in (file, again):
            for message in each.message_type:
                without_json_names(message)
        assert again == file


def without_json_names(message: DescriptorProto) -> None:
    """Remove what protoc adds to descriptors and a compiled module does not contain."""
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        without_json_names(nested)


def test_the_printed_descriptors_of_protobuf_have_the_fields_of_the_original(
    exported: Path, tmp_path: Path
) -> None:
    # Options that only newer compilers know are left out.
    own = tmp_path / "own"
    shutil.copytree(str(files("grpc_tools") / "_proto" / "google"), own / "google")
    printed, original = compiled(exported, tmp_path), compiled(own, tmp_path)
    for name in sorted(name for name in printed if name.startswith("google/protobuf/")):
        assert sorted(shape(printed[name].message_type, "")) == sorted(shape(original[name].message_type, ""))


def shape(messages: Iterator[DescriptorProto], scope: str) -> Iterator[tuple[str, ...]]:
    for message in messages:
        name = f"{scope}{message.name}"
        for field in message.field:
            yield (name, field.name, str(field.number), str(field.type), field.type_name, str(field.label))
            yield (name, field.name, field.default_value, str(field.options.packed))
        for enum in message.enum_type:
            yield from ((name, enum.name, each.name, str(each.number)) for each in enum.value)
        yield from ((name, str(each.start), str(each.end)) for each in message.extension_range)
        yield from shape(message.nested_type, f"{name}.")


def test_the_exported_protos_have_the_comments_of_the_contract(exported: Path, tmp_path: Path) -> None:
    file = compiled(exported, tmp_path, "--include_source_info")["headstart/v1/job.proto"]
    place = [message.name for message in file.message_type].index("Job")
    comments = {tuple(each.path): each.leading_comments for each in file.source_code_info.location}
    assert comments[4, place].strip() != ""
    fields = job_pb2.Job.DESCRIPTOR.fields
    assert all(comments[4, place, 2, number].strip() for number in range(len(fields)))


def test_the_archive_has_the_same_files_and_is_the_same_every_time(exported: Path) -> None:
    content = protos_archive()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            str(path.relative_to(exported)): path.read_bytes()
            for path in exported.rglob("*")
            if path.is_file()
        }
    assert content == protos_archive()


def test_the_command_writes_the_protos_and_names_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["protos", "--out", str(tmp_path / "new" / "folder")])
    assert (done.exit_code, "descriptors.binpb" in done.output) == (0, True)
    assert (tmp_path / "new/folder/google/api/http.proto").exists()
    (tmp_path / "file").touch()
    done = CliRunner().invoke(command, ["protos", "--out", str(tmp_path / "file")])
    assert done.exit_code != 0
    assert f"cannot be written to {tmp_path / 'file'}" in done.output
