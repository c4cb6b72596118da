"""The requests that Label Studio sends to an ML backend, such as /label-studio/MODEL/predict.

They become calls of the gRPC services, so that permissions, tenants, limits, metrics and the audit log apply.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import unquote

from google.rpc import code_pb2

from headstart_server.api.compat.compat_predictor import selector_of
from headstart_server.api.http.body import read_within
from headstart_server.api.http.exchange import HttpExchange
from headstart_server.api.http.gateway import HttpProtocol
from headstart_server.api.http.in_process_server import InProcessServer
from headstart_server.api.http.inputs import UploadLimits
from headstart_server.api.http.json_text import SMALL_BYTES, in_json_thread, load_json
from headstart_server.api.http.response import HttpError, HttpResponse, error_response
from headstart_server.api.label_studio.annotations import EVENTS, AnnotationReceiver
from headstart_server.api.label_studio.calls import CallFailedError, Calls, ServedVersion, served_version
from headstart_server.api.label_studio.contents import TaskContents
from headstart_server.api.label_studio.labeling import check_task, labeling_of
from headstart_server.api.label_studio.predicting import TaskPredictor
from headstart_server.column_json import dump_columns
from headstart_server.errors import InvalidField

PREFIX = "/label-studio"
_PATH = re.compile(rf"{PREFIX}/([^/]+)/([a-z_]+)/?")

_Work = Callable[[Calls, ServedVersion, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class LabelStudio(HttpProtocol):
    """Serve the requests below `/label-studio`."""

    def __init__(self, server: InProcessServer, limits: UploadLimits, contents: TaskContents) -> None:
        self._server = server
        self._limits = limits
        self._predictor = TaskPredictor(contents, limits.inputs)
        self._receiver = AnnotationReceiver(contents)
        self._work: Mapping[tuple[str, str], _Work] = {
            ("GET", "health"): self._health,
            ("POST", "setup"): self._setup,
            ("POST", "predict"): self._predict,
            ("GET", "versions"): self._versions,
            ("POST", "webhook"): self._webhook,
        }

    def serves(self, path: str) -> bool:
        """Return whether a path is one of this protocol."""
        return path == PREFIX or path.startswith(f"{PREFIX}/")

    async def knows(self, exchange: HttpExchange) -> bool:
        """Return whether every check knows the caller of a request."""
        return await Calls(self._server, exchange).is_known()

    async def answer(self, exchange: HttpExchange) -> HttpResponse:
        """Return the response to a request. Raise HttpError or HeadstartError if the request is invalid."""
        match = _PATH.fullmatch(exchange.path)
        work = self._work.get((exchange.verb, match[2])) if match else None
        if match is None or work is None:
            raise HttpError(
                404,
                code_pb2.NOT_FOUND,
                f"Expected {PREFIX}/MODEL, MODEL@ALIAS or MODEL@VERSION as the URL of the backend in Label "
                f"Studio. Received: {exchange.verb[:20]} {exchange.path[:200]!r}.",
            )
        selector = selector_of(unquote(match[1]), "", "the URL of the backend")
        calls = Calls(self._server, exchange)
        try:
            # First, so that the body of a caller without permission is not read.
            version = await served_version(calls, selector)
            content = await work(calls, version, await self._body(exchange))
        except CallFailedError as error:
            return error_response(error.status)
        return HttpResponse(content=(await in_json_thread(dump_columns, content)).encode())

    async def _body(self, exchange: HttpExchange) -> Mapping[str, Any]:
        async with aclosing(exchange.body.pieces()) as pieces:
            text = await read_within(pieces, self._limits.json_bytes)
        if exchange.verb == "GET":
            return {}
        try:
            body = load_json(text) if len(text) <= SMALL_BYTES else await in_json_thread(load_json, text)
        except ValueError as error:
            raise InvalidField(f"Expected a JSON object as the body. Received: {error}") from None
        if not isinstance(body, dict):
            raise InvalidField("The body is JSON, but not an object. Send a JSON object.")
        return body

    async def _health(self, calls: Calls, version: ServedVersion, _: Mapping[str, Any]) -> Mapping[str, Any]:
        del calls
        return {"status": "UP", "model_class": version.model}

    async def _setup(
        self, calls: Calls, version: ServedVersion, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        del calls
        check_task(await in_json_thread(labeling_of, body.get("schema")), version.task, version.name)
        return {"model_version": version.name}

    async def _versions(
        self, calls: Calls, version: ServedVersion, _: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        del calls
        return {"versions": [version.name]}

    async def _predict(
        self, calls: Calls, version: ServedVersion, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        labeling = await in_json_thread(labeling_of, body.get("label_config"))
        check_task(labeling, version.task, version.name)
        results = await self._predictor.predict(calls, version, labeling, body.get("tasks"))
        return {"results": results, "model_version": version.name}

    async def _webhook(
        self, calls: Calls, version: ServedVersion, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        if body.get("action") not in EVENTS:
            return {"feedback": []}
        sent = await self._receiver.receive(calls, version, body)
        return {"feedback": [each.feedback.feedback_id for each in sent]}
