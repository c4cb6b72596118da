"""Sends a server the most expensive requests within its limits, and prints what they cost: `make cost`."""

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cost.cases import grpc_cases, http_cases, response_cases, stored_cases, tensor_cases
from cost.measure import PAUSE, Server, calibrated, cost_of
from headstart_server.settings.settings import Settings

#: The largest message with the default settings, in whole MiB.
MESSAGE_BYTES = Settings().limits.max_message_size >> 20 << 20
#: A request that costs too much does so each time; what it costs only once or twice is noise of the machine.
TRIALS = 3


def main() -> None:
    """Run, and end with 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=MESSAGE_BYTES >> 20, help="size of the largest requests")
    parser.add_argument("--only", default="", help="requests whose name contains this")
    parser.add_argument("--seconds", type=float, default=3600.0, help="begin no request after this time")
    parser.add_argument("--every", action="store_true", help="print each request, not only findings")
    options = parser.parse_args()
    findings = measured(options.mib << 20, options.seconds, [options.only], every=options.every)
    for finding in findings:
        print(finding)
    sys.exit(bool(findings))


def measured(
    budget: int,
    seconds: float,
    only: Sequence[str] = ("",),
    *,
    every: bool = False,
) -> list[str]:
    """Send requests; returns the findings.

    Args:
        budget: bytes of the largest requests.
        seconds: after which no further request begins.
        only: parts of the names of those that are sent.
        every: whether each request is printed.
    """
    findings, count = [], 0
    with tempfile.TemporaryDirectory() as folder:
        # So that a thumbnail is made each time.
        server = Server(Path(folder), thumbnail_storage="off")
        try:
            server.start()
            limits = calibrated(server)
            print(f"limits: pause {PAUSE * 1000:.0f} ms, health {limits.health * 1000:.0f} ms", flush=True)
            began = time.monotonic()
            for case in itertools.chain(
                stored_cases(budget),
                response_cases(),
                tensor_cases(budget),
                http_cases(budget),
                grpc_cases(budget),
            ):
                if time.monotonic() - began > seconds:
                    break
                if not any(part in case.name for part in only):
                    continue
                for gzip in (False, True) if case.body is None else (False,):
                    count += 1
                    for _ in range(TRIALS):
                        cost = cost_of(server, case, gzip=gzip)
                        broken = limits.broken_by(cost, case.nbytes)
                        if not broken:
                            break
                    name = f"{case.name}{', gzip' if gzip else ''} ({case.nbytes >> 10} KiB)"
                    if every:
                        print(
                            f"{cost.pause * 1000:7.1f} ms {cost.memory / (1 << 20):7.1f} MiB "
                            f"{cost.health * 1000:7.1f} ms {cost.code:>18}  {name}",
                            flush=True,
                        )
                    findings += [f"{name}: {each}" for each in broken]
        finally:
            server.kill()
    print(f"{count} requests, {len(findings)} findings")
    return findings


if __name__ == "__main__":
    main()
