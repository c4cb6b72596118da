"""The code of docs/guides/python.md runs."""

import re
from pathlib import Path

import pytest

from contract.fake_server import FakeServer
from headstart import Client

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_a_block_runs(block: str, server: FakeServer, client: Client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cat1", "cat2", "dog1", "dog2"):
        Path(f"{name}.jpg").write_bytes(name.encode())

    exec(block.replace("localhost:8765", server.target), {"client": client})

    assert server.requests
