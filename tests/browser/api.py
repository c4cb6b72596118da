"""The HTTP API, to prepare what the console shows and to check what it did."""

import base64
import json
import urllib.request
from collections.abc import Iterable
from typing import Any


class HttpApi:
    """Call a server in JSON.

    Args:
        url: of the server.
        token: of the caller, if the server authenticates callers.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url
        self._authorization = {"authorization": f"Bearer {token}"} if token else {}

    def call(self, path: str, body: Any = None, verb: str | None = None) -> Any:
        """Return the response of a call."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        kind = "image/png" if isinstance(body, bytes) else "application/json"
        headers = {"content-type": kind, **self._authorization}
        request = urllib.request.Request(self.url + path, data, headers, method=verb)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def train(self, model: str, examples: Iterable[tuple[str, str, bytes]], **spec: Any) -> dict[str, Any]:
        """Train on images, each with its class and ID; return the job that succeeded."""
        listed = [
            {
                "input": {"image": base64.b64encode(content).decode()},
                "label": {"className": label},
                "exampleId": name,
            }
            for label, name, content in examples
        ]
        job = self.call("/v1/jobs", {"spec": {"model": model, **spec}, "examples": listed})["job"]
        ended = self.call(f"/v1/jobs/{job['jobId']}?waitDuration=60s")["job"]
        assert ended["state"] == "JOB_STATE_SUCCEEDED", ended
        return dict(ended)
