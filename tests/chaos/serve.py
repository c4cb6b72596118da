"""A server for chaos: the real one, on a backbone that needs no network and takes its time.

Its settings come as JSON in the first argument. Those that are no settings of a server:
- `batch_seconds`: what each batch takes on the device;
- `clock_ahead_seconds`: by how much the machine's clock is wrong;
- `bucket_seconds`: how long a call of the bucket is waited for;
- `clean_seconds`: between two rounds of cleaning up;
- `disk`: a folder in which nothing fits as long as there is a file `full`;
- `bug`: one of `data_bugs.BUGS`.
With several processes only `batch_seconds` counts.
Contents that begin with `deadly` kill the process, and those that begin with `quick` take no time.
"""

import json
import os
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from chaos import data_bugs, skewed_clock
from fakes import FakeBackbone, FakeSource, settings_of
from full_disk import FullDisk
from headstart_server.app import maintenance
from headstart_server.app.serve import serve
from headstart_server.app.supervise import process_count, supervise
from headstart_server.backbones.contract.backbone import Content
from headstart_server.storage import bucket

#: Seconds that an example takes, so that jobs are seen at work.
EXAMPLE_SECONDS = 0.02


class SlowBackbone(FakeBackbone):
    """Takes its time for an example, and none for a batch."""

    def decode(self, content: Content) -> NDArray[Any]:
        if isinstance(content, bytes) and content.startswith(b"deadly"):
            os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(content, bytes) and not content.startswith(b"quick"):
            time.sleep(EXAMPLE_SECONDS)
        return super().decode(content)


def source() -> FakeSource:
    """The backbones of one process of a server with several."""
    backbone = SlowBackbone()
    batch_seconds = float(os.environ.get("BATCH_SECONDS", "0"))
    backbone.before_run = lambda rows: time.sleep(batch_seconds)
    return FakeSource(backbone)


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    if settings.get("processes", 1) > 1:
        os.environ["BATCH_SECONDS"] = str(settings.pop("batch_seconds", 0.0))
        given = settings_of(default_backbone="fake", **settings)
        supervise(given, process_count(given), source="chaos.serve:source")
        sys.exit()
    backbone, batch_seconds = SlowBackbone(), settings.pop("batch_seconds", 0.0)
    maintenance.CLEAN_SECONDS = settings.pop("clean_seconds", maintenance.CLEAN_SECONDS)
    bucket.CALL_SECONDS = settings.pop("bucket_seconds", bucket.CALL_SECONDS)
    bucket.PROBE_SECONDS = min(bucket.PROBE_SECONDS, bucket.CALL_SECONDS)
    skewed_clock.ahead = settings.pop("clock_ahead_seconds", 0.0)
    backbone.before_run = lambda rows: time.sleep(batch_seconds)
    disk = FullDisk(Path(settings.pop("disk", os.devnull)))
    disk.full_while = (disk.folder / "full").exists
    with disk, data_bugs.BUGS.get(settings.pop("bug", ""), nullcontext)():
        serve(settings_of(default_backbone="fake", **settings), FakeSource(backbone))
