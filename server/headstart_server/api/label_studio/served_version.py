"""The version that a backend of Label Studio predicts with."""

from dataclasses import dataclass

from headstart.v1 import input_pb2, version_selector_pb2
from headstart.v1 import model_service_pb2 as pb
from headstart_server.api.label_studio.calls import Calls
from headstart_server.models.version import Selector

_GET_VERSION = "/headstart.v1.ModelService/GetVersion"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedVersion:
    """A version."""

    model: str
    number: int
    task: input_pb2.Task  # the kind of label that it predicts

    @property
    def name(self) -> str:
        """Return its name, as in the path of a backend."""
        return f"{self.model}@{self.number}"

    @property
    def selector(self) -> version_selector_pb2.VersionSelector:
        """Return its selector in calls."""
        return version_selector_pb2.VersionSelector(model=self.model, version=self.number)


def selector_message(selector: Selector) -> version_selector_pb2.VersionSelector:
    """Return a selector as a message."""
    message = version_selector_pb2.VersionSelector(model=selector.model)
    if selector.number is not None:
        message.version = selector.number
    elif selector.alias is not None:
        message.alias = selector.alias
    return message


async def served_version(calls: Calls, selector: Selector) -> ServedVersion:
    """Return the version that a selector names now, if the caller may use its model.

    Raises:
        CallFailedError: it is missing, or the caller lacks every right on its model.
    """
    request = pb.GetVersionRequest(target=selector_message(selector), view=pb.VERSION_VIEW_BASIC)
    version = (await calls.call(_GET_VERSION, request)).version
    return ServedVersion(model=selector.model, number=version.version, task=version.task)
