"""Each extra declares what its modules import, and a missing declaration is found."""

import subprocess
import sys
from pathlib import Path

import pytest

from install.declared import faults
from install.extras import Declared
from install.versions import BEGIN, END, write_versions

ROOT = Path(__file__).parents[3]


def found(tmp_path: Path, *replaced: tuple[str, str]) -> list[str]:
    text = (ROOT / "pyproject.toml").read_text()
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    return list(faults(Declared(path)))


def test_every_import_is_declared_by_the_extra_that_needs_it(tmp_path: Path) -> None:
    assert found(tmp_path) == []


def test_a_package_that_only_another_extra_declares_is_found(tmp_path: Path) -> None:
    # `server` and `dev` have it, `serving` does not.
    moved = ('  "tokenizers>=0.21",', ""), ('  "keras>=3.15.1",', '  "tokenizers>=0.21", "keras>=3.15.1",')
    places = {each.partition(":")[0] for each in found(tmp_path, *moved)}
    assert places == {
        "server/headstart_server/backbones/sources/hub_tokenizer.py",
        "server/headstart_server/backbones/preprocessing/texts.py",
    }


def test_a_package_that_is_imported_in_a_function_needs_any_extra(tmp_path: Path) -> None:
    assert found(tmp_path, ("torch>=2.9", "six>=1"))[0].endswith(
        "Declare it in pyproject.toml, or add headstart_server.backbones.runtimes.keras_runtime to OWNERS "
        "in tests/install/extras.py."
    )


def test_the_script_that_imports_all_modules_names_what_fails(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "good.py").touch()
    (package / "bad.py").write_text("import no_such_module\n")
    script = ROOT / "tests/install/scripts/imports.py"
    given = '{"packages": ["shop"], "without": ["shop.good"]}'
    code = f"import sys, runpy; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['', {given!r}]; "
    code += f"runpy.run_path({str(script)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        '{"imported": 2, "failed": ["shop.bad: ModuleNotFoundError: No module named \'no_such_module\'"]}\n'
    )


def test_versions_are_written_between_their_markers(tmp_path: Path) -> None:
    document = tmp_path / "versions.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_versions(document, {"3.13.5": {"keras": "3.15.1"}})
    assert "| 3.13.5 |  |  | 3.15.1 |" in document.read_text()
    assert document.read_text().startswith(f"before\n{BEGIN}\n| Python |")
    document.write_text("nothing")
    with pytest.raises(ValueError, match="lacks the markers"):
        write_versions(document, {})
