"""A hub on the loopback, and what is refused with it and without it."""

import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.sources.registry import source_of
from headstart_server.backbones.sources.source import SourceError
from hub_samples.samples import Samples

COMMIT = "0123456789" * 4


class HuggingFace:
    """A hub on the loopback with one repository, ``tiny/bert``: the folder ``hf-bert``, and code next to it.

    Args:
        folder: of all folders.
    """

    def __init__(self, folder: Path) -> None:
        files = folder / "hf-bert"
        self.served: list[str] = []
        served = self.served

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                names = [one.relative_to(files).as_posix() for one in files.rglob("*") if one.is_file()]
                names += ["modeling.py", "pytorch_model.bin"]
                if path.startswith("/api/models/tiny/bert/revision/"):
                    self._answer(json.dumps({"id": "tiny/bert", "sha": COMMIT, "siblings": []}).encode())
                elif path.startswith("/api/models/tiny/bert/tree/"):
                    rows = [
                        {"type": "file", "path": name, "size": self._size(name), "oid": "0"} for name in names
                    ]
                    self._answer(json.dumps(rows).encode())
                elif path.startswith(f"/tiny/bert/resolve/{COMMIT}/"):
                    name = path.removeprefix(f"/tiny/bert/resolve/{COMMIT}/")
                    served.append(name)
                    self._answer((files / name).read_bytes() if (files / name).is_file() else b"1/0")
                else:
                    self._answer(b"{}", 404)

            def do_HEAD(self) -> None:
                self.do_GET()

            def _size(self, name: str) -> int:
                return (files / name).stat().st_size if (files / name).is_file() else 3

            def _answer(self, body: bytes, code: int = 200) -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def refusals(samples: Samples, server: HuggingFace) -> None:
    """What becomes of handles with a hub and without one, and of a server without KerasHub."""
    cache = samples.folder / "cache"

    def opened(source: str, **settings: Any) -> Any:
        declaration = Declaration(name="any", source=source, **settings)
        try:
            network = source_of(declaration).open(declaration, cache)
        except SourceError as error:
            return str(error)
        return network.weights

    said: dict[str, Any] = {"downloaded": opened("hf:tiny/bert", modality="text")}
    said["served"] = sorted(server.served)
    said["unknown repository"] = opened("hf:tiny/none")
    server.close()
    said["offline"] = opened("hf:tiny/bert", modality="text")
    said["unreachable"] = opened("hf:tiny/other")
    said["unknown preset"] = opened("kerashub:no_such_preset")
    folder = samples.folder
    said["too long"] = opened(f"kerashub:{folder / 'bert'}", max_tokens=41)
    said["no such layer"] = opened(f"kerashub:{folder / 'vit'}", layer="nowhere")
    said["wrong size"] = opened(f"kerashub:{folder / 'vit'}", size=64)
    said["text as images"] = opened(f"kerashub:{folder / 'bert'}", modality="image", size=32, scale=1.0)
    said["settings of images"] = opened(f"kerashub:{folder / 'bert'}", size=64)
    (folder / "vit" / "image_converter.json").rename(folder / "vit" / "elsewhere")
    said["unknown scale"] = opened(f"kerashub:{folder / 'vit'}")
    (folder / "vit" / "elsewhere").rename(folder / "vit" / "image_converter.json")
    installed = sys.modules["keras_hub"]
    sys.modules["keras_hub"] = None  # type: ignore[assignment]  # importing it fails so
    said["not installed"] = opened(f"kerashub:{folder / 'vit'}")
    sys.modules["keras_hub"] = installed
    samples.facts["said"] = said
