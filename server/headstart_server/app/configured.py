"""The objects and limits that the settings alone determine."""

from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from headstart_server.api.grpc.messages.dataset_manifest import read_dataset_list
from headstart_server.api.http.json_text import load_row
from headstart_server.auth.audit import AuditLog
from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.runtimes import RuntimeKind, has_gpu, runtime_settings
from headstart_server.backbones.runtimes.keras_matrices import KerasMatrices
from headstart_server.database import address
from headstart_server.datasets.uris.location import Kind
from headstart_server.datasets.uris.policy import dataset_uri_policy
from headstart_server.datasets.uris.reader import DatasetReader
from headstart_server.embedding.backbone_pool import BackboneSource
from headstart_server.errors import ExportUnavailable
from headstart_server.export.cache import MAX_BYTES, MAX_SECONDS, ExportCache
from headstart_server.export.exporter import Exporter, ExportNetwork
from headstart_server.jobs.stored import QueueLimits
from headstart_server.learning.examples.dataset import DatasetLimits
from headstart_server.learning.features.matrices import DeviceError, Matrices
from headstart_server.learning.features.memory_share import share_of
from headstart_server.learning.heads.ridge import NUMPY
from headstart_server.models.registry import Registry
from headstart_server.processes.part import Part
from headstart_server.settings.groups import AuthGroup
from headstart_server.settings.job_groups import BackbonesGroup, LimitsGroup
from headstart_server.settings.settings import Settings
from headstart_server.training.job_admission import memory_budget


def audit_log(auth: AuthGroup, part: Part, closing: ExitStack) -> AuditLog | None:
    """Open the audit log; return None if it is off."""
    if not auth.audit_log:
        return None
    audit = AuditLog(
        auth.audit_log, unauthenticated_rate=part.share(int(auth.audit_unauthenticated_rate or 0))
    )
    closing.callback(audit.close)
    return audit


def exporter(source: BackboneSource, registry: Registry, folder: Path, part: Part) -> Exporter:
    """Return the exporter of versions, with its cache in a folder."""
    cache = ExportCache(folder, max_bytes=part.share(MAX_BYTES), max_seconds=MAX_SECONDS)
    return Exporter(registry, _export_network(source), cache)


def _export_network(source: BackboneSource) -> ExportNetwork:
    if isinstance(source, Catalog):
        return source.export

    def refuse(backbone: str, *_: object) -> None:
        raise ExportUnavailable(f"Expected a backbone that can be exported. Received: '{backbone}'.")

    return refuse


def dataset_reader(settings: Settings) -> DatasetReader | None:
    """Return the reader of datasets at URIs; None if no URI is allowed."""
    if not settings.jobs.allow_dataset_uri:
        return None
    policy = dataset_uri_policy(settings, address.files(settings.storage.database_target))
    if Kind.WEB in policy.kinds and find_spec("urllib3") is None:
        raise ModuleNotFoundError(
            "--allow-dataset-uri https:// needs the package urllib3: pip install 'headstart[http]'."
        )
    read = partial(read_dataset_list, loads=load_row)
    return DatasetReader(policy, read, max_input_bytes=settings.limits.max_input_size)


def matrices(backbones: BackbonesGroup) -> Matrices:
    """Return Keras' device if it is a GPU; on a CPU, numpy is as fast and leaves the cores to backbones."""
    on_gpu = has_gpu() and runtime_settings(backbones).settled().kind is RuntimeKind.KERAS
    return KerasMatrices(DeviceError) if on_gpu else NUMPY


def memory_bytes(settings: Settings) -> int | None:
    """Return the memory limit of all jobs in bytes; None if unknown."""
    storage = settings.storage
    caches = (storage.feature_cache_memory or 0) + (storage.version_cache_memory or 0)
    return memory_budget(settings.jobs.job_memory, caches)


def memory_share(job_bytes: int | None, part: Part) -> int | None:
    """Return the memory limit of evaluations, and of the labels of uploads, in bytes; None if unknown."""
    return share_of(None if job_bytes is None else part.share(job_bytes))


def queue_limits(limits: LimitsGroup) -> QueueLimits:
    """Return the limits of the job queue."""
    return QueueLimits(
        queued=limits.max_queued_jobs,
        queued_per_tenant=limits.max_queued_jobs_per_tenant or 0,
        running=limits.max_running_jobs or 0,
        running_per_tenant=limits.max_running_jobs_per_tenant or 0,
        versions_per_model=limits.max_versions_per_model or 0,
    )


def dataset_limits(limits: LimitsGroup) -> DatasetLimits:
    """Return the limits of a dataset."""
    return DatasetLimits(
        max_examples=limits.max_examples,
        max_bytes=limits.max_dataset_size,
        max_input_bytes=limits.max_input_size,
        max_classes=limits.max_classes,
    )
