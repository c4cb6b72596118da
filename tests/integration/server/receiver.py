"""A receiver of webhooks: a server on the loopback that checks signatures and answers as a test sets."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook

SECRET = base64.b64encode(b"a secret of thirty-two bytes, ok").decode()


def secret_file(folder: Path) -> Path:
    """A file with the secret that the receiver knows."""
    path = folder / "webhook-secrets"
    path.write_text(f"whsec_{SECRET}\n")
    return path


class Receiver:
    """Takes POSTs.

    Attributes:
        status: what it answers; on the path /redirect it leads elsewhere.
        posts: path, verified body and headers of each.
    """

    def __init__(self, port: int = 0) -> None:
        self.status = 204
        self.posts: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self._came = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer._take(self.path, Webhook(SECRET).verify(body, headers), headers)
                leads = self.path == "/redirect"
                self.send_response(307 if leads else outer.status)
                if leads:
                    self.send_header("location", f"{outer.url}/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self, job_id: str, count: int = 1, timeout: float = 60.0) -> list[tuple[str, Any, Any]]:
        """The POSTs about a job, once there are so many."""

        def found() -> list[tuple[str, Any, Any]]:
            return [post for post in self.posts if post[1]["data"]["jobId"] == job_id]

        with self._came:
            assert self._came.wait_for(lambda: len(found()) >= count, timeout), self.posts
            return found()

    def _take(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> None:
        with self._came:
            self.posts.append((path, body, headers))
            self._came.notify_all()


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver for the length of a block."""
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()
