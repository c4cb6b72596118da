"""Which HTTP request is which call of the contract, and how its parts become the call's message.

A rule is that of `google.api.http`: a verb, a path whose variables are fields of the request, and whether the
body is the message. What is neither in path nor body may be given in the query, by the field's name.
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from grpc_health.v1 import health_pb2

from headstart.v1 import (
    evaluation_service_pb2,
    fine_tuning_service_pb2,
    model_service_pb2,
    prediction_service_pb2,
    server_service_pb2,
)

_MODULES = (
    fine_tuning_service_pb2,
    prediction_service_pb2,
    model_service_pb2,
    evaluation_service_pb2,
    server_service_pb2,
    health_pb2,
)
_SERVICES = {
    name: descriptor for module in _MODULES for name, descriptor in module.DESCRIPTOR.services_by_name.items()
}
_VARIABLE = re.compile(r"\{([a-z_.]+)(=\*\*)?\}")


class Body(Enum):
    """What a request's body is.

    Attributes:
        NONE: there is none.
        MESSAGE: the message as JSON.
        INPUTS: the message as JSON, or its inputs: pictures or texts as they are, or a form of files.
        EXAMPLES: a spec and examples, for a call that streams them.
    """

    NONE = "none"
    MESSAGE = "message"
    INPUTS = "inputs"
    EXAMPLES = "examples"


@dataclass(frozen=True, eq=False)
class Rule:
    """One kind of request.

    Attributes:
        verb: of HTTP.
        path: with the paths of fields as variables, such as `/v1/jobs/{job_id}`; `=**` takes slashes, too.
        call: service and method, such as `FineTuningService/Status`.
        body: what the body is.
        events: whether the answers are server-sent events.
        document: whether the answer is a document, told by its media type, and no JSON.
        files: whether the answers are files, sent as they come.
        needs: fields without which the request would mean something else than its verb says.
        bans: fields with which it would.
    """

    verb: str
    path: str
    call: str
    body: Body = Body.NONE
    events: bool = False
    document: bool = False
    files: bool = False
    needs: tuple[str, ...] = ()
    bans: tuple[str, ...] = ()

    @cached_property
    def descriptor(self) -> MethodDescriptor:
        """The method's, from the contract."""
        service, method = self.call.split("/")
        found: MethodDescriptor = _SERVICES[service].methods_by_name[method]
        return found

    @cached_property
    def method(self) -> str:
        """The full name of the method, as gRPC calls it."""
        return f"/{self.descriptor.containing_service.full_name}/{self.descriptor.name}"

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """The fields in the path."""
        return tuple(match[1] for match in _VARIABLE.finditer(self.path))

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What paths of this rule look like, a group for each variable."""
        parts, end = [], 0
        for match in _VARIABLE.finditer(self.path):
            parts.append(re.escape(self.path[end : match.start()]))
            parts.append("(.+)" if match[2] else "([^/:]+)")
            end = match.end()
        return re.compile("".join([*parts, re.escape(self.path[end:])]))

    @cached_property
    def asked(self) -> Descriptor:
        """The message that path and query fill: of a stream its spec."""
        message: Any = self.descriptor.input_type
        found: Descriptor = message
        if self.body is Body.EXAMPLES:
            found = message.fields_by_name["spec"].message_type
        return found


def _of_versions(suffix: str, verb: str, call: str, target: str, **more: object) -> tuple[Rule, ...]:
    """A rule for the newest version, one for that of a number and one for that of an alias."""
    model = f"/v1/models/{{{target}.model}}"
    paths = (model, f"{model}/versions/{{{target}.version}}", f"{model}/aliases/{{{target}.alias}}")
    return tuple(Rule(verb, f"{path}{suffix}", call, **more) for path in paths)  # type: ignore[arg-type]


RULES = (
    *_of_versions(":predict", "POST", "PredictionService/Predict", "target", body=Body.INPUTS),
    Rule("POST", "/v1/backbones/{backbone}:embed", "PredictionService/Embed", Body.INPUTS),
    Rule("POST", "/v1/models/{model}:fineTune", "FineTuningService/FineTune", Body.EXAMPLES),
    Rule("POST", "/v1/models/{model}:rebase", "FineTuningService/Rebase", Body.MESSAGE),
    Rule("GET", "/v1/jobs", "FineTuningService/ListJobs"),
    Rule("GET", "/v1/jobs/{job_id}", "FineTuningService/Status"),
    Rule("GET", "/v1/jobs/{job_id}/events", "FineTuningService/Watch", events=True),
    Rule("POST", "/v1/jobs/{job_id}:cancel", "FineTuningService/Cancel"),
    Rule("GET", "/v1/models", "ModelService/ListModels"),
    Rule("GET", "/v1/models/{model}", "ModelService/GetModel"),
    Rule("DELETE", "/v1/models/{model}", "ModelService/DeleteModel"),
    Rule("DELETE", "/v1/models/{model}/versions/{version}", "ModelService/DeleteVersion"),
    Rule(
        "PUT", "/v1/models/{model}/aliases/{alias}", "ModelService/SetAlias", Body.MESSAGE, needs=("version",)
    ),
    Rule(
        "DELETE",
        "/v1/models/{model}/aliases/{alias}",
        "ModelService/SetAlias",
        bans=("version", "shares"),
    ),
    *_of_versions("/evaluation", "GET", "ModelService/GetEvaluation", "target"),
    *_of_versions("/report", "GET", "ModelService/GetReport", "target", document=True),
    *_of_versions("/export", "GET", "ModelService/ExportVersion", "target", files=True),
    *_of_versions(":evaluate", "POST", "EvaluationService/Evaluate", "target", body=Body.EXAMPLES),
    Rule("POST", "/v1/models:compare", "EvaluationService/Compare", Body.EXAMPLES),
    Rule("DELETE", "/v1/examples/{example_id=**}", "ModelService/DeleteExample"),
    Rule("GET", "/v1/backbones", "ModelService/ListBackbones"),
    Rule("GET", "/v1/server", "ServerService/GetServerInfo"),
    Rule("GET", "/v1/whoami", "ServerService/WhoAmI"),
    Rule("GET", "/v1/usage", "ServerService/GetUsage"),
    Rule("GET", "/v1/health", "Health/Check"),
)
