"""The measures of the code count what a reader would count."""

from pathlib import Path

from metrics import (
    Constructors,
    SourceFile,
    cycles,
    docstring_lines,
    imports,
    library,
    percentile,
    single_importers,
)

BAG = """
class Reader:
    def __init__(self, path: str) -> None: ...

@dataclass(frozen=True)
class Tools:
    reader: Reader
    other: Reader | None
    name: str

@dataclass
class Value:
    reader: Reader
    name: str

class Worker:
    def __init__(self, tools: Tools, value: Value, *, name: str) -> None: ...
"""


def source(module: str, text: str) -> SourceFile:
    return SourceFile(module, Path(f"{module}.py"), text)


def test_imports_below_type_checking_close_a_cycle() -> None:
    graph = imports(
        [
            source("room.a", "from room import b\n"),
            source("room.b", "from room.c import C\n"),
            source("room.c", "if TYPE_CHECKING:\n    from room.a import A\n"),
            source("room.d", "import room.a\n"),
        ]
    )

    assert cycles(graph) == [{"room.a", "room.b", "room.c"}]


def test_a_small_file_with_one_importer_is_listed_with_it() -> None:
    files = [
        source("room.a", "import room.small\nimport room.large\nimport room.shared\n"),
        source("room.b", "import room.shared\n"),
        source("room.small", "ONE = 1\n"),
        source("room.shared", "ONE = 1\n"),
        source("room.large", "ONE = 1\n" * 40),
    ]

    assert single_importers(files) == {"room.small": "room.a"}


def test_the_fields_of_a_bag_count_as_arguments() -> None:
    sizes = Constructors([source("room.a", BAG)]).sizes()

    assert sizes == {"room.a.Reader": 1, "room.a.Worker": 3 + 1 + 1}


def test_only_docstrings_count_as_docstrings() -> None:
    assert docstring_lines(source("a", '"""One.\n\nThree.\n"""\nX = "other"\n').tree) == 4
    assert docstring_lines(source("a", 'X = """One.\n"""\n').tree) == 0


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile(list(range(1, 11)), 0.9) == 9
    assert percentile([7], 0.9) == 7


def test_the_library_has_no_generated_files() -> None:
    modules = {file.module for file in library()}

    assert "headstart_server" in modules
    assert not [module for module in modules if "_pb2" in module]
