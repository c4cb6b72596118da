"""The file of a version with its evaluation and the findings in its examples."""

import json
from typing import Any

from headstart_server.learning.analysis.dataset_findings import DatasetFindings
from headstart_server.learning.metrics.evaluation import Evaluation

EVALUATION_FILE = "evaluation.json"


def encode(evaluation: Evaluation, findings: DatasetFindings) -> bytes:
    """Return the content of the file."""
    fields = {"evaluation": evaluation.to_json(), "findings": findings.to_json()}
    return json.dumps(fields, ensure_ascii=False).encode()


def decode(content: bytes) -> tuple[Evaluation | None, DatasetFindings | None]:
    """Return what `encode` wrote, None for a missing part; raise ValueError if the content is invalid."""
    try:
        fields: dict[str, Any] = json.loads(content)
        evaluation, findings = fields.get("evaluation"), fields.get("findings")
        return (
            Evaluation.from_json(evaluation) if evaluation else None,
            DatasetFindings.from_json(findings) if findings else None,
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"Expected an evaluation and findings. Received: {error!r}.") from error
