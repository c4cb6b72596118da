"""What the import of Keras brings along, with a stand-in that imports optional packages as Keras does."""

import sys
from pathlib import Path

import pytest

from headstart_server.backbones.runtimes.keras_import import load_keras

#: Records which packages it could import.
KERAS = """
found = []
for name in ("jax", "pandas", "scipy", "sklearn", "numpy"):
    try:
        __import__(name)
    except ImportError:
        continue
    found.append(name)
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keras.py").write_text(KERAS)
    for name in ("jax", "pandas", "scipy", "sklearn"):
        (tmp_path / f"{name}.py").touch()
        # Restored afterwards, whatever the test imports.
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "keras", None)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("backend", "found"),
    [
        ("tensorflow", ["numpy"]),
        # JAX is the backend, and needs SciPy.
        ("jax", ["jax", "scipy", "numpy"]),
        ("torch", ["jax", "scipy", "numpy"]),
    ],
)
def test_optional_packages_of_keras_are_not_imported_and_can_be_later(
    monkeypatch: pytest.MonkeyPatch, backend: str, found: list[str]
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert load_keras().found == found
    for name in ("jax", "pandas", "scipy", "sklearn"):
        assert __import__(name).__name__ == name


@pytest.mark.usefixtures("installed")
def test_what_is_imported_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    import scipy

    assert load_keras().found == ["scipy", "numpy"]
    assert sys.modules["scipy"] is scipy
