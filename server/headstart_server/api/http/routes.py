"""HTTP routes: the contract's `google.api.http` annotations, and a few paths that they cannot express."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from grpc_health.v1 import health_pb2

from headstart import v1

_VERBS = ("get", "put", "post", "delete", "patch")
_VARIABLE = re.compile(r"\{([a-z0-9_.]+)(=\*\*)?\}")
_MODEL = "/v1/models/{target.model}"
_VERSIONS = (_MODEL, f"{_MODEL}/versions/{{target.version}}", f"{_MODEL}/aliases/{{target.alias}}")
#: Paths by method that annotations cannot express: for client streams, for the first of several targets, and
#: for methods that are not part of the contract.
_SHORT_FORMS: Mapping[str, tuple[str, ...]] = {
    "headstart.v1.PredictionService.Predict": tuple(
        f"POST {path.replace('{target.', '{targets.')}:predict" for path in _VERSIONS
    ),
    "headstart.v1.FineTuningService.FineTune": ("POST /v1/models/{model}:fineTune",),
    "headstart.v1.EvaluationService.Evaluate": tuple(f"POST {path}:evaluate" for path in _VERSIONS),
    "headstart.v1.EvaluationService.Compare": ("POST /v1/models:compare",),
    "grpc.health.v1.Health.Check": ("GET /v1/health",),
}


class Body(Enum):
    """The content of a request's body.

    Attributes:
        NONE: empty.
        MESSAGE: the message, or one of its fields, as JSON.
        INPUTS: the message as JSON, or its inputs: raw images or texts, or a form of files.
        EXAMPLES: a spec and examples, for a call that streams them.
    """

    NONE = "none"
    MESSAGE = "message"
    INPUTS = "inputs"
    EXAMPLES = "examples"


@dataclass(frozen=True, eq=False)
class Route:
    """One kind of request."""

    verb: str
    # with the paths of fields as variables, such as `/v1/jobs/{job_id}`; `=**` matches slashes, too
    path: str
    descriptor: MethodDescriptor
    # the field of the message that is the body; `*` means the whole message, empty means no body
    field: str = ""

    @cached_property
    def method(self) -> str:
        """The full name of the method in gRPC, such as `/headstart.v1.FineTuningService/Status`."""
        return f"/{self.descriptor.containing_service.full_name}/{self.descriptor.name}"

    @cached_property
    def body(self) -> Body:
        """The content of the body."""
        if self.descriptor.client_streaming:
            return Body.EXAMPLES
        if not self.field:
            return Body.NONE
        request: Any = self.descriptor.input_type
        return Body.INPUTS if "inputs" in request.fields_by_name else Body.MESSAGE

    @cached_property
    def is_events(self) -> bool:
        """Whether the responses are sent as server-sent events."""
        return self.descriptor.server_streaming and "event" in self.descriptor.output_type.fields_by_name

    @cached_property
    def is_files(self) -> bool:
        """Whether the responses are the contents of files."""
        return self.descriptor.server_streaming and not self.is_events

    @cached_property
    def is_document(self) -> bool:
        """Whether the response is a document with a media type instead of JSON."""
        return {"content", "media_type"} <= set(self.descriptor.output_type.fields_by_name)

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """The fields in the path."""
        return tuple(match[1] for match in _VARIABLE.finditer(self.path))

    @cached_property
    def shown_path(self) -> str:
        """The path with the short names of its variables."""
        return _VARIABLE.sub(lambda match: f"{{{match[1].rpartition('.')[2]}}}", self.path)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The pattern of paths that match, with a group for each variable."""
        parts, end = [], 0
        for match in _VARIABLE.finditer(self.path):
            parts.append(re.escape(self.path[end : match.start()]))
            parts.append("(.+)" if match[2] else "([^/:]+)")
            end = match.end()
        return re.compile("".join([*parts, re.escape(self.path[end:])]))

    @cached_property
    def message(self) -> Descriptor:
        """The message that path and query set: the spec of a client stream, else the request."""
        request: Any = self.descriptor.input_type
        is_stream = self.body is Body.EXAMPLES
        message: Descriptor = request.fields_by_name["spec"].message_type if is_stream else request
        return message


def _services() -> Iterator[Any]:
    for module in sorted(each.name for each in iter_modules(v1.__path__)):
        if module.endswith("_service_pb2"):
            file: Any = import_module(f"{v1.__name__}.{module}").DESCRIPTOR
            yield from file.services_by_name.values()
    yield health_pb2.DESCRIPTOR.services_by_name["Health"]


def _routes_of(method: MethodDescriptor) -> Iterator[Route]:
    options = method.GetOptions()
    if options.HasExtension(annotations_pb2.http):
        rule = options.Extensions[annotations_pb2.http]
        for each in (rule, *rule.additional_bindings):
            verb = next(name for name in _VERBS if getattr(each, name))
            yield Route(verb.upper(), getattr(each, verb), method, each.body)
    for form in _SHORT_FORMS.get(method.full_name, ()):
        verb, path = form.split(" ")
        yield Route(verb, path, method, "*" if verb == "POST" else "")


SERVICES = tuple(_services())
ROUTES = tuple(route for service in SERVICES for method in service.methods for route in _routes_of(method))
