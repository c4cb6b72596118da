"""What happens in one simulation, drawn from its seed: what callers do, and what goes wrong when."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

#: Seconds in which callers act and things go wrong; afterwards everything heals.
ACTIVE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing that happens.

    Attributes:
        at: when, in seconds.
        kind: what.
        replica: place of the replica that it concerns.
        number: which job or version it concerns.
        seconds: how long it goes on.
        flags: what else is chosen.
    """

    at: float
    kind: str
    replica: int = 0
    number: int = 0
    seconds: float = 0.0
    flags: frozenset[str] = frozenset()

    def __str__(self) -> str:
        more = f" {'+'.join(sorted(self.flags))}" if self.flags else ""
        return (
            f"{self.at:6.2f} s {self.kind} at replica {self.replica}, number {self.number}, "
            f"{self.seconds:.2f} s{more}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DataPolicy:
    """When the model of the data loop retrains, and what of it is captured.

    Attributes:
        min_feedback_count: feedback that starts a retrain.
        failing_retrains: how many attempts at a retrain fail.
        max_captured: most captured inputs.
        capture_seconds: seconds after which they expire.
    """

    min_feedback_count: int
    failing_retrains: int
    max_captured: int
    capture_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One simulation.

    Attributes:
        seed: where it comes from; the schedule is drawn from it, too.
        replicas: how many there are.
        steps: what happens, by time.
        faults: most transactions that fail, or kill their replica.
        fault_share: how likely each transaction fails, as long as there are faults left.
        slow_share: how likely each transaction is slow.
        slow_kinds: how likely each kind of transaction, and of access to a bucket, is always slow.
        loss_share: how likely a notification within a process is lost.
        versions: how many versions there are from the beginning.
        policy: of the model with the data loop; None without one.
    """

    seed: int
    replicas: int
    steps: tuple[Step, ...]
    faults: int
    fault_share: float
    slow_share: float
    loss_share: float
    versions: int
    policy: DataPolicy | None = None
    slow_kinds: float = 0.0

    @property
    def size(self) -> int:
        """How much happens in it."""
        shares = (self.slow_share, self.loss_share, self.slow_kinds)
        return len(self.steps) + self.replicas + self.faults + sum(share > 0 for share in shares)

    def smaller(self) -> Iterator["Plan"]:
        """Plans in which less happens, the smallest first."""
        for length in (len(self.steps) // 2, len(self.steps) // 4):
            if length > 1:
                for start in range(0, len(self.steps), length):
                    yield replace(self, steps=self.steps[:start] + self.steps[start + length :])
        if self.replicas > 1:
            kept = tuple(step for step in self.steps if step.replica < self.replicas - 1)
            yield replace(self, replicas=self.replicas - 1, steps=kept)
        for faults in {0, self.faults - 1} - {self.faults, -1}:
            yield replace(self, faults=faults)
        if self.slow_share:
            yield replace(self, slow_share=0.0)
        if self.loss_share:
            yield replace(self, loss_share=0.0)
        if self.slow_kinds:
            yield replace(self, slow_kinds=0.0)
        for place in range(len(self.steps)):
            yield replace(self, steps=self.steps[:place] + self.steps[place + 1 :])


#: What callers do with the data of a model.
DATA_KINDS = ("upload", "edit", "edit", "erase", "teach", "teach", "look", "look", "drop", "prune")
#: What callers choose: a rebuild, an alias, the same call once more, other feedback about the same input.
_DATA_FLAGS = ("rebuild", "alias", "again", "contradict")
#: Share of simulations with a data loop.
DATA_SHARE = 0.25
#: Share of these with a retrain, a successor of its version, and another retrain.
SUCCESSOR_SHARE = 0.15
#: Share of these with feedback about a captured input that is erased meanwhile.
ERASED_CAPTURE_SHARE = 0.15
#: Share of the others with a job that a caller deletes as soon as it has ended.
DELETED_JOB_SHARE = 0.15
#: What may go wrong; each plan has some of them only, so that rare ones meet undisturbed.
_TROUBLE = ("pause", "pause", "crash", "stop", "outage", "partition", "jump", "clean", "receiver", "storage")


def plan_of(seed: int) -> Plan:
    """Draw a plan."""
    chance = random.Random(seed)
    # Drawn by itself, so that other steps do not depend on it.
    of_data = random.Random(f"{seed} data")
    has_data = of_data.random() < DATA_SHARE
    # Small: many small simulations find as much as a few large ones, and more quickly.
    replicas = chance.choice((1, 2, 2, 2, 2, 2, 2, 3))
    jobs = chance.choice((0, 1, 1, 1, 1, 1, 2, 3))
    if has_data:
        jobs = min(jobs, of_data.choice((0, 0, 0, 1)))
    versions = chance.choice((0, 1, 2, 2)) if jobs else 2 * (not has_data)
    steps: list[Step] = []
    for job in range(jobs):
        steps += _job(chance, job, replicas)
    if has_data:
        steps += _data(of_data, replicas)
        of_successors = random.Random(f"{seed} successors")
        if of_successors.random() < SUCCESSOR_SHARE:
            steps += _successor(of_successors, replicas)
        of_captures = random.Random(f"{seed} captures")
        if of_captures.random() < ERASED_CAPTURE_SHARE:
            steps += _erased_capture(of_captures, replicas)
    elif versions or chance.random() < 0.7:
        steps += _models(chance, replicas, versions + jobs)
    if chance.random() < 0.85:
        kinds = chance.sample(_TROUBLE, chance.randint(1, 3))
        for _ in range(chance.randint(1, 3)):
            steps.append(_trouble(chance, chance.choice(kinds), replicas, steps))
    of_deletions = random.Random(f"{seed} deletions")
    if not has_data and of_deletions.random() < DELETED_JOB_SHARE:
        steps += _deleted_job(of_deletions, replicas)
    return Plan(
        seed=seed,
        replicas=replicas,
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        faults=chance.choice((0, 0, 1, 2, 3)),
        fault_share=chance.choice((0.01, 0.04, 0.1)),
        slow_share=chance.choice((0.0, 0.0, 0.02, 0.1)),
        loss_share=chance.choice((0.0, 0.0, 0.3)),
        versions=versions,
        policy=_policy(of_data) if has_data else None,
        slow_kinds=of_data.choice((0.0, 0.15, 0.4)) if has_data else 0.0,
    )


def _policy(chance: random.Random) -> DataPolicy:
    return DataPolicy(
        min_feedback_count=chance.choice((1, 1, 2)),
        failing_retrains=chance.choice((0, 0, 0, 1, 2, 9)),
        max_captured=chance.choice((1, 2, 4)),
        capture_seconds=chance.choice((60.0, 1e6)),
    )


def _job(chance: random.Random, job: int, replicas: int) -> Iterator[Step]:
    begins = chance.uniform(0.0, 1.5)
    flags = {
        flag
        for flag, share in (("alias", 0.4), ("webhook", 0.5), ("discard", 0.2), ("storage", 0.1))
        if chance.random() < share
    }
    yield Step(
        at=begins,
        kind="submit",
        replica=chance.randrange(replicas),
        number=job,
        seconds=chance.choice((0.1, 0.5, 0.5, 1.5, 3.0)),
        flags=frozenset(flags),
    )
    for kind, share in (("watch", 0.6), ("cancel", 0.35), ("status", 0.4), ("submit_again", 0.1)):
        if chance.random() < share:
            at = begins + chance.expovariate(1.2)
            yield Step(at=at, kind=kind, replica=chance.randrange(replicas), number=job)


def _deleted_job(chance: random.Random, replicas: int) -> Iterator[Step]:
    """Draw a job, and its deletion."""
    at, seconds = chance.uniform(0.0, 2.0), chance.choice((0.1, 0.5, 1.5))
    for kind in ("submit", "delete_job"):
        yield Step(at=at, kind=kind, replica=chance.randrange(replicas), number=40, seconds=seconds)


def _data(chance: random.Random, replicas: int) -> Iterator[Step]:
    """Draw what happens to the data of a model: a few kinds of calls and of choices in each simulation.

    Some simulations have all calls at almost the same time; others have time for several retrains.
    """
    kinds = chance.sample(DATA_KINDS, chance.randint(1, 3))
    if chance.random() < 0.7:
        # Most promises are about what happens next to an erasure.
        kinds.append("erase")
    flags = {flag: chance.choice((0.0, 0.5, 1.0)) for flag in _DATA_FLAGS}
    seconds = chance.choice((1.0, 4.0, 8.0))
    for number in range(chance.randint(2, 6)):
        kind = chance.choice(kinds)
        # Feedback early, so that it is learned while other things happen.
        at = chance.uniform(0.0, seconds * (0.75 if kind in ("teach", "look") else 1.0))
        step = _data_step(chance, at, kind, replicas, number, flags)
        yield step
        if kind in ("teach", "look") and "erase" in kinds and chance.random() < 0.7:
            # While a retrain is likely to take the feedback, or feedback about a captured input comes.
            soon = at + (
                chance.expovariate(1.5) if kind == "teach" else step.seconds + chance.uniform(0, 0.4)
            )
            yield _data_step(chance, soon, "erase", replicas, number, flags | {"recent": 1.0})


def _successor(chance: random.Random, replicas: int) -> Iterator[Step]:
    """Draw feedback, an erasure that replaces the version that learned it, and more feedback."""
    at = chance.uniform(0.0, 0.5)
    for number, kind in enumerate(("teach", "erase", "teach"), start=20):
        flags = {"rebuild": 1.0} if kind == "erase" else {}
        yield _data_step(chance, at, kind, replicas, number, flags)
        at += chance.uniform(1.0, 2.5)


def _erased_capture(chance: random.Random, replicas: int) -> Iterator[Step]:
    """Draw a captured input, and its erasure at about the time of feedback about it."""
    at, seconds = chance.uniform(0.0, ACTIVE_SECONDS - 2.0), chance.choice((0.5, 1.0))
    yield replace(_data_step(chance, at, "look", replicas, 30, {"again": 1.0}), seconds=seconds)
    # An erasure reads much before it deletes the captured input.
    at += seconds + chance.uniform(-0.4, 0.3)
    yield _data_step(chance, at, "erase", replicas, 31, {"recent": 1.0})


def _data_step(
    chance: random.Random, at: float, kind: str, replicas: int, number: int, flags: Mapping[str, float]
) -> Step:
    return Step(
        at=at,
        kind=kind,
        replica=chance.randrange(replicas),
        number=number,
        seconds=chance.choice((0.0, 0.0, 0.5, 1.5)),
        flags=frozenset(flag for flag, share in flags.items() if chance.random() < share),
    )


def _models(chance: random.Random, replicas: int, numbers: int) -> Iterator[Step]:
    if chance.random() < 0.35:
        # Moves in quick succession, of which a replica may miss one.
        begins = chance.uniform(0.0, ACTIVE_SECONDS - 1.0)
        for _ in range(chance.randint(2, 3)):
            yield Step(
                at=begins + chance.uniform(0.0, 0.6),
                kind="set_alias",
                replica=chance.randrange(replicas),
                number=chance.randint(1, max(1, numbers)),
            )
    for _ in range(chance.choice((1, 1, 2, 3))):
        kind = chance.choice(("read", "read", "read", "set_alias", "set_alias", "predict", "delete"))
        yield Step(
            at=chance.uniform(0.0, ACTIVE_SECONDS),
            kind=kind,
            replica=chance.randrange(replicas),
            number=chance.randint(1, max(1, numbers)),
            flags=frozenset({"etag"} if chance.random() < 0.3 else ()),
        )


def _trouble(chance: random.Random, kind: str, replicas: int, steps: list[Step]) -> Step:
    at = chance.uniform(0.0, ACTIVE_SECONDS - 1.0)
    submits = [step for step in steps if step.kind == "submit"]
    if submits and (kind == "pause" or chance.random() < 0.5):
        # While a job is likely to run.
        job = chance.choice(submits)
        at = job.at + chance.uniform(0.05, job.seconds + 0.3)
    return Step(
        at=at,
        kind=kind,
        replica=chance.randrange(replicas),
        seconds=chance.choice((0.2, 0.5, 1.5, 3.5, 4.5)),
    )
