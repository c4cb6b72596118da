"""The parts of a version that are exported."""

from typing import Any

import numpy as np

from headstart_server.auth.tenants import own_name
from headstart_server.backbones.worker.export_request import Answers, ExportFormat, ExportRequest
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Scaling
from headstart_server.learning.heads.head import Float32, Head
from headstart_server.models.resident import ResidentVersion
from headstart_server.models.version import Version

_ANSWERS = {
    Task.SINGLE_LABEL: Answers.SOFTMAX,
    Task.MULTI_LABEL: Answers.SIGMOID,
    Task.REGRESSION: Answers.NONE,
}


def export_request(version: Version, loaded: ResidentVersion, form: ExportFormat) -> ExportRequest:
    """Return the request to export a version; `loaded` has its head and tail."""
    head = loaded.head
    slopes, offsets = _calibration(head)
    hidden = head.hidden
    return ExportRequest(
        form=form,
        digest=loaded.backbone_digest,
        views=head.views,
        roots=head.scaling is Scaling.ROOT,
        lengths=head.scaling is not Scaling.STANDARD,
        hidden_weights=hidden.weights if hidden is not None else np.zeros((0, 0), np.float32),
        hidden_bias=hidden.bias if hidden is not None else np.zeros(0, np.float32),
        weights=head.weights,
        bias=head.bias,
        slopes=slopes,
        offsets=offsets,
        answers=_ANSWERS[head.task],
        tail=loaded.tail.weights if loaded.tail is not None else None,
        facts=_facts(version, head),
    )


def _calibration(head: Head) -> tuple[Float32, Float32]:
    columns = head.bias.shape
    if head.task is Task.SINGLE_LABEL:
        return np.full(columns, 1 / head.temperature, np.float32), np.zeros(columns, np.float32)
    if head.task is Task.MULTI_LABEL:
        return head.calibration.slopes, head.calibration.offsets
    return np.ones(columns, np.float32), np.zeros(columns, np.float32)


def _facts(version: Version, head: Head) -> dict[str, Any]:
    manifest = version.manifest
    facts: dict[str, Any] = {
        # Recipients of the export must not see the name of the tenant.
        "model": own_name(version.model),
        "version": version.number,
        "task": head.task.value,
        "backbone": manifest.backbone,
        "backbone_digest": manifest.backbone_digest,
        "software": manifest.software,
    }
    if head.class_names:
        facts["class_names"] = list(head.class_names)
    if head.task is Task.SINGLE_LABEL:
        facts["temperature"] = head.temperature
    if head.thresholds.size:
        facts["thresholds"] = head.thresholds.tolist()
    if head.interval is not None:
        facts["interval"] = list(head.interval)
    return facts
