"""A real Label Studio in a separate process, on SQLite, and its API."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foreign.environment import LABEL_STUDIO
from server_process import HOST, free_port

#: Seconds of the first start, which creates the database: minutes on a busy machine.
START_SECONDS = 600.0
TOKEN = "0123456789abcdef0123456789abcdef01234567"
_USER = ("--username", "annotator@example.com", "--password", "secret-12345", "--user-token", TOKEN)
#: Label Studio checks addresses of backends and webhooks; these tests have loopback addresses only.
_SETTINGS = {
    "DJANGO_DB": "sqlite",
    "ML_BLOCK_LOCAL_IP": "0",
    "SSRF_PROTECTION_ENABLED": "0",
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "1",
    "COLLECT_ANALYTICS": "0",
    "LATEST_VERSION_CHECK": "0",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    # On a busy machine the default of one second is short.
    "WEBHOOK_TIMEOUT": "20",
    "ML_TIMEOUT_SETUP": "20",
    "ML_TIMEOUT_HEALTH": "20",
    "ML_CONNECTION_TIMEOUT": "20",
}


class LabelStudio:
    """The API of a Label Studio.

    Args:
        url: its URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, value: Any = None, *, verb: str | None = None) -> Any:
        """Send JSON; return the JSON of the response."""
        data = None if value is None else json.dumps(value).encode()
        return self._send(path, data, "application/json", verb)

    def project(self, config: str) -> int:
        """Create a project with a labeling configuration; return its ID."""
        return self.ask("/api/projects", {"title": "project", "label_config": config})["id"]

    def upload(self, project: int, files: Mapping[str, bytes]) -> None:
        """Create a task for each file."""
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"; filename="{name}"\r\n'
            f"content-type: image/png\r\n\r\n".encode()
            + content
            + b"\r\n"
            for name, content in files.items()
        ]
        body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
        self._send(f"/api/projects/{project}/import", body, f"multipart/form-data; boundary={boundary}")

    def import_tasks(self, project: int, tasks: list[dict[str, Any]]) -> None:
        """Create tasks from their data."""
        self.ask(f"/api/projects/{project}/import", tasks)

    def connect(self, project: int, backend: str, **settings: Any) -> dict[str, Any]:
        """Connect an ML backend; return it."""
        return self.ask("/api/ml", {"project": project, "url": backend, "title": "headstart", **settings})

    def tasks(self, project: int) -> list[dict[str, Any]]:
        """Return the tasks of a project, by their IDs."""
        found = self.ask(f"/api/tasks?project={project}&fields=all&page_size=1000")["tasks"]
        return sorted(found, key=lambda task: task["id"])

    def predict(self, project: int) -> None:
        """Retrieve predictions for all tasks, as a user does in the data manager."""
        chosen = {"selectedItems": {"all": True, "excluded": []}}
        self.ask(f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", chosen)

    def predictions(self, project: int) -> list[dict[str, Any]]:
        """Return the newest prediction of each task, in the order of the tasks."""
        return [self.ask(f"/api/tasks/{task['id']}")["predictions"][-1] for task in self.tasks(project)]

    def annotate(self, task: int, result: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
        """Annotate a task; return the annotation."""
        return self.ask(f"/api/tasks/{task}/annotations", {"result": result, "lead_time": 1.0, **fields})

    def _send(self, path: str, data: bytes | None, media_type: str, verb: str | None = None) -> Any:
        headers = {"authorization": f"Token {TOKEN}", "content-type": media_type}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=verb)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code} {error.read().decode()[:2000]}") from None
        return json.loads(content) if content else None


@contextmanager
def label_studio(folder: Path) -> Iterator[LabelStudio]:
    """Run a Label Studio with its data in a folder.

    Raises:
        subprocess.CalledProcessError: it cannot be installed.
    """
    shutil.copytree(_first_data(), folder, dirs_exist_ok=True)
    with _running(folder) as studio:
        yield studio


def _first_data() -> Path:
    """Return the data of a first start; the first call makes them, which takes a minute."""
    LABEL_STUDIO.python()
    made = hashlib.sha256(f"{_USER} {LABEL_STUDIO.requirements.read_text()}".encode()).hexdigest()[:16]
    data = LABEL_STUDIO.folder / f"data-{made}"
    with (LABEL_STUDIO.folder / ".lock-data").open("w") as lock:
        # Tests run in several processes.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not data.exists():
            with tempfile.TemporaryDirectory(dir=LABEL_STUDIO.folder) as folder:
                started = Path(folder, "data")
                started.mkdir()
                with _running(started):
                    pass
                started.rename(data)
    return data


@contextmanager
def _running(folder: Path) -> Iterator[LabelStudio]:
    program = LABEL_STUDIO.python().with_name("label-studio")
    port = free_port()
    arguments = ["start", "--no-browser", "--internal-host", HOST, "--port", str(port)]
    arguments += ["--log-level", "WARNING", *_USER]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HEADSTART_")},
        **_SETTINGS,
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
    }
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *arguments], stdout=output, stderr=output, env=environment, cwd=folder
        )
    try:
        studio = LabelStudio(f"http://{HOST}:{port}")

        def answers() -> bool:
            assert process.poll() is None, log.read_text(errors="replace")[-5000:]
            try:
                studio.ask("/api/projects")
            except (AssertionError, OSError):
                return False
            return True

        until = time.monotonic() + START_SECONDS
        while not answers():
            assert time.monotonic() < until, log.read_text(errors="replace")[-5000:]
            time.sleep(0.2)
        yield studio
    finally:
        process.kill()
        process.wait(30)
