"""Measures Headstart against other servers on this machine, in one run: ``python -m peers``.

Prints tables in Markdown that the documentation quotes.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from light_load import H2LOAD
from peers.contenders import FLAVORS, HEADSTART, Contender, Job, headstarts, peers
from peers.measuring import Measured, Plan, measure
from peers.process_group import ServerEnded
from peers.publishing import publish, quantize
from peers.tables import print_tables
from peers.variants import names
from report import WRITE_HELP, machine, software, write_section
from sample_images import photographs

CALLERS = (1, 8, 32)
VARIANTS = (1, 10, 50)
IMAGES = 64
#: Times that a server is started which ends before it is ready.
ATTEMPTS = 2


def main() -> None:
    """Measure and print."""
    # A server is ended on the way out, so also on this way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = _arguments()
    only, flavors = arguments.only, arguments.flavor or FLAVORS
    chosen = [peer for peer in peers() if (not only or peer.name in only) and peer.flavor in flavors]
    versions = dict.fromkeys(f"{peer.server} {peer.version()}" for peer in chosen)
    setting = f"Machine: {machine()}. Software: {software()}. Peers: {', '.join(versions)}."
    print(f"{setting}\n", flush=True)
    measured = _kept(arguments.json) if arguments.add else []
    with tempfile.TemporaryDirectory(prefix="headstart-peers-") as place:
        networks, images = _prepared(Path(place), max(arguments.variants))
        print(f"{quantize(networks)}\n", flush=True)
        for count in arguments.variants:
            callers = CALLERS if count == arguments.variants[0] else CALLERS[1:]
            plan = Plan(
                callers=callers,
                seconds=arguments.seconds,
                bound=arguments.bound,
                images=images,
                # It sends one request again and again, so it cannot choose among variants.
                light=count == 1 and H2LOAD.find() is not None,
            )
            # Ours first and last: what else the machine does meanwhile then shows as their difference.
            for contender in (*headstarts(), *chosen, *headstarts()):
                measured.append(_measured(contender, plan, names(count), networks))
                if arguments.json is not None:
                    arguments.json.write_text(json.dumps([asdict(one) for one in measured], indent=1))
    print()
    print_tables(sorted(measured, key=_place), CALLERS)
    if arguments.write:
        write_section("make bench-peers", setting)


def _arguments() -> argparse.Namespace:
    names_of_peers = sorted({peer.name for peer in peers()})
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=names_of_peers, help="a peer; may be repeated")
    parser.add_argument("--seconds", type=float, help="seconds of each load (default: 3)")
    parser.add_argument("--variants", type=int, nargs="+", help="numbers of variants (default: 1 10 50)")
    parser.add_argument("--bound", type=float, default=300.0, help="seconds a server gets to become ready")
    parser.add_argument("--quick", action="store_true", help="loads of 1 s, and 1 and 3 variants")
    parser.add_argument(
        "--flavor",
        action="append",
        choices=FLAVORS,
        help="what runs the peers' networks; may be repeated (default: all)",
    )
    parser.add_argument("--json", type=Path, help="file that gets everything measured")
    parser.add_argument(
        "--add",
        action="store_true",
        help="keep what the file of --json holds, and print tables of all: for a run in pieces",
    )
    parser.add_argument("--write", action="store_true", help=WRITE_HELP)
    arguments = parser.parse_args()
    if arguments.add and arguments.json is None:
        parser.error("--add needs the file to add to: --json FILE")
    arguments.seconds = arguments.seconds or (1.0 if arguments.quick else 3.0)
    arguments.variants = sorted(arguments.variants or ((1, 3) if arguments.quick else VARIANTS))
    return arguments


def _kept(file: Path) -> list[Measured]:
    """What earlier pieces measured."""
    if not file.exists():
        return []
    found = [Measured(**one) for one in json.loads(file.read_text())]
    for one in found:
        # JSON's keys are texts.
        one.loads = {int(callers): load for callers, load in one.loads.items()}
        one.light_loads = {int(callers): load for callers, load in one.light_loads.items()}
    return found


def _prepared(place: Path, variants: int) -> tuple[Path, Path]:
    """The folders of the networks and of the images."""
    networks, images = place / "networks", place / "images"
    networks.mkdir()
    images.mkdir()
    for number, file in enumerate(photographs(IMAGES)):
        (images / f"{number:03}.jpg").write_bytes(file)
    print(f"Building {variants} networks ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "peers.networks", str(networks), str(variants)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"The networks could not be built:\n{done.stderr[-2000:]}")
    return networks, images


def _measured(contender: Contender, plan: Plan, variants: Sequence[str], networks: Path) -> Measured:
    """What it did, at the second attempt if it ended at the first before it was ready."""
    began = time.monotonic()
    for attempt in range(ATTEMPTS):
        with tempfile.TemporaryDirectory(prefix="server-", dir=networks.parent) as folder:
            job = Job(
                variants=variants,
                networks=networks,
                folder=Path(folder),
                cores=len(os.sched_getaffinity(0)),
                ports=_ports(),
            )
            one = _published(contender, job) or measure(contender, job, plan)
        one.attempts = attempt + 1
        if not one.ended_early:
            break
    rates = {callers: round(load["per_second"]) for callers, load in one.loads.items()}
    print(
        f"{one.title}, {one.variants} variants: {one.fault or rates} ({time.monotonic() - began:.0f} s)",
        file=sys.stderr,
        flush=True,
    )
    return one


def _published(contender: Contender, job: Job) -> Measured | None:
    """Fine-tune what Headstart serves; return why it cannot, as what was measured."""
    if contender.name == HEADSTART:
        try:
            publish(contender, job)
        except (ServerEnded, TimeoutError) as error:
            return Measured(title=contender.title, variants=len(job.variants), fault=str(error))
    return None


def _place(one: Measured) -> int:
    """Where its row stands: the pieces of a run come in any order."""
    return [contender.title for contender in (*headstarts(), *peers())].index(one.title)


def _ports() -> Sequence[int]:
    """Ports that are free now."""
    sockets = [socket.socket() for _ in range(4)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


if __name__ == "__main__":
    main()
