"""The embedder of a loaded backbone: its queue, its threads, and the shared feature cache."""

import math
from collections.abc import Callable

from headstart_server.backbones.contract.backbone import Backbone
from headstart_server.backbones.contract.machine import available_cores
from headstart_server.embedding.batcher import Batcher, BatchObserver
from headstart_server.embedding.cache import FeatureCache, shared_key, tenant_key
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import BatchSizes, Lane, LaneQueue
from headstart_server.embedding.train_budget import TrainBudget
from headstart_server.observability.telemetry import Telemetry
from headstart_server.processes.part import WHOLE, Part
from headstart_server.processes.remote_backbones import RemoteBackbone
from headstart_server.settings.settings import Settings

#: Maximum rows of a training batch while Predicts are waiting. A Predict waits for one such batch at most,
#: which takes some tens of milliseconds on a CPU.
TRAIN_SLICE = 8


def embedder_factory(
    settings: Settings, cache: FeatureCache, telemetry: Telemetry, part: Part = WHOLE
) -> Callable[[Backbone], Embedder]:
    """Return a function that starts the embedder of a backbone."""

    def start(backbone: Backbone) -> Embedder:
        is_remote = isinstance(backbone, RemoteBackbone)
        threads = _thread_count(backbone, part)
        observer: BatchObserver = _DropObserver(telemetry) if is_remote else telemetry
        batcher = Batcher(
            backbone.run,
            _queue(settings, backbone, threads),
            observer,
            train_run=backbone.run_training if isinstance(backbone, RemoteBackbone) else None,
            threads=threads,
            name=f"backbone-{backbone.info.name}",
        )
        batcher.start()
        return Embedder(
            backbone,
            batcher,
            cache,
            max_pending=settings.limits.max_pending_inputs,
            cache_predictions=settings.storage.cache_predictions,
            cache_key=tenant_key if settings.storage.isolate_feature_cache else shared_key,
            least_window=(backbone.streams + 1) * _train_batch(backbone) + threads,
        )

    return start


class _DropObserver:
    """Count inputs that were dropped from the queue of a serving process; the engine counts the batches."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.inputs_dropped = telemetry.inputs_dropped

    def batch_ran(self, lane: Lane, rows: int, seconds: float, slowest: float) -> None:
        """Do nothing."""


def _thread_count(backbone: Backbone, part: Part) -> int:
    cores = part.share(available_cores())
    # On a CPU one more than the cores: it runs while another thread waits for the interpreter's lock.
    return max(cores + 1, backbone.streams) if backbone.stream_per_core else cores + backbone.streams


def _train_batch(backbone: Backbone) -> int:
    """Return the rows of a training batch when no Predict waits: enough to fill a separate device."""
    return backbone.batch if backbone.on_device else min(backbone.batch, TRAIN_SLICE)


def _queue(settings: Settings, backbone: Backbone, threads: int) -> LaneQueue:
    share = settings.jobs.train_share
    return LaneQueue(
        BatchSizes(
            backbone.batch,
            min(backbone.batch, TRAIN_SLICE),
            train_quiet=_train_batch(backbone),
            most_rows=backbone.most_rows,
        ),
        TrainBudget(
            share=share,
            # Rounded up, because fewer concurrent items could never reach the share.
            items=max(1, math.ceil(share * threads)),
            # Each core processes one item; the additional thread fills the gaps between items.
            capacity=threads - 1 if backbone.stream_per_core else threads,
        ),
        streams=backbone.streams,
        max_delay=settings.backbones.batch_delay,
        pairing=backbone.stream_per_core,
    )
