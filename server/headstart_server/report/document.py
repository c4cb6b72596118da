"""The report in JSON: the same facts for programs."""

import json
from typing import Any

from headstart_server.energy import Energy
from headstart_server.report.facts import ReportFacts

__all__ = ["MEDIA_TYPE", "document"]

MEDIA_TYPE = "application/json"
#: Of the document's keys. Further keys may come without another number.
_FORMAT = 1


def document(facts: ReportFacts) -> str:
    """The facts as one JSON object; times are seconds since 1970, shares 0 to 1.

    Its keys are ``format`` (1), ``model``, ``version``, ``aliases``, ``task``, ``created``, ``expires`` (null
    for never), ``size_bytes``, ``display_name``, ``tags``, ``class_names``, ``thresholds`` (several labels:
    by class); ``metrics``, ``evaluation`` and ``findings`` with the fields of the contract's messages of
    these names (null for versions of 0.1), ``promotion`` (null without a condition), ``backbone_selection``
    (null unless the backbone was left open: ``backbone``, ``reason``, ``candidates``, ``time_budget`` in
    seconds, ``example_count``), ``energy`` (null where nothing was told, or ``joules``, ``gco2e``,
    ``estimated``, ``joules_by_source`` and ``grid_gco2e_per_kwh``), and ``lineage``: ``job_id``,
    ``backbone``, ``backbone_digest``, ``dataset_digest``, ``head_digest``, ``recipe`` (its name with its
    settings), ``requested_recipe`` (likewise; only if another one than auto was asked for), ``seed``,
    ``example_count``, ``software``, ``runtime``, ``stop_reason``, ``fit_seconds``, ``parent`` (0 for
    none), ``added_count``, ``removed_count``, ``note`` (how the head came about; may be empty) and
    ``tail`` (null, or ``blocks`` and ``cut`` of blocks of its own).
    """
    version, evaluation, findings = facts.version, facts.evaluation, facts.findings
    fields: dict[str, Any] = facts.manifest.to_json()
    # What the version's own keys tell, or what is of no use outside of the server.
    fields.pop("energy", None)
    for name in ("model", "created", "metrics", "class_names", "task", "files", "thresholds"):
        fields.pop(name)
    content = {
        "format": _FORMAT,
        "model": version.model,
        "version": version.number,
        "aliases": list(version.aliases),
        "task": facts.task,
        "created": version.created,
        "expires": version.expires,
        "size_bytes": version.size_bytes,
        "display_name": fields.pop("display_name"),
        "tags": fields.pop("tags"),
        "class_names": list(facts.manifest.class_names),
        "thresholds": facts.thresholds,
        "metrics": facts.metrics.to_json(),
        "evaluation": evaluation.to_json() if evaluation else None,
        "findings": findings.to_json() if findings else None,
        "promotion": facts.promotion.to_json() if facts.promotion else None,
        "backbone_selection": fields.pop("backbone_selection", None),
        "energy": _energy(facts.manifest.energy),
        "lineage": fields,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _energy(energy: Energy | None) -> dict[str, Any] | None:
    if energy is None:
        return None
    return {
        "joules": energy.total_joules,
        "gco2e": energy.gco2e,
        "estimated": energy.is_estimated,
        "joules_by_source": dict(energy.joules),
        "grid_gco2e_per_kwh": energy.grid_gco2e_per_kwh,
    }
