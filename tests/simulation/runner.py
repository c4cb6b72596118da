"""Runs simulations one after another in this process, and makes failing ones smaller."""

import base64
import gc
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from simulation.bugs import BUGS, CHANGES
from simulation.coverage import Coverage
from simulation.database import Tables
from simulation.plan import Plan, plan_of
from simulation.world import SECRETS, World

#: Simulations between two collections of all garbage.
_COLLECT_EVERY = 200
#: Most simulations that are tried to make a failing one smaller.
_SMALLER_TRIES = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A simulation in which something was broken.

    Attributes:
        plan: what happened.
        violations: what was broken.
    """

    plan: Plan
    violations: tuple[str, ...]


class Simulator:
    """Runs simulations on tables that it makes once.

    Args:
        tables: the database.
        scratch: folder for files that are being written, with the secrets of webhooks.

    Attributes:
        coverage: how often each kind of trouble occurred in all of them.
    """

    def __init__(self, tables: Tables, scratch: Path) -> None:
        self._tables = tables
        self._scratch = scratch
        self.coverage = Coverage()

    def run(self, plan: Plan, trace: Callable[[str], None] | None = None) -> list[str]:
        """Run one simulation; returns what is broken."""
        world = World(plan, self._tables, self._scratch, trace)
        broken = world.run()
        self.coverage.update(world.coverage)
        return broken

    def failures(self, seeds: Iterable[int]) -> Iterator[Failure | None]:
        """Run one simulation after another, and give for each what failed in it, or None."""
        for place, seed in enumerate(seeds):
            # What the last one left; what lives longer is looked through now and then only.
            gc.collect(2 if place % _COLLECT_EVERY == 0 else 0)
            plan = plan_of(seed)
            broken = self.run(plan)
            yield Failure(plan=plan, violations=tuple(broken)) if broken else None

    def smallest(self, failure: Failure) -> Failure:
        """A failing simulation in which less happens, and the same kind of thing is broken."""
        tries = 0
        while True:
            for plan in failure.plan.smaller():
                tries += 1
                if tries > _SMALLER_TRIES:
                    return failure
                broken = self.run(plan)
                if _kind(failure.violations) in map(_first_words, broken):
                    failure = Failure(plan=plan, violations=tuple(broken))
                    break
            else:
                return failure


@contextmanager
def simulator(bug: str = "") -> Iterator[Simulator]:
    """A simulator, of a server with a planted bug if one is named.

    Raises:
        ValueError: there is no such bug.
    """
    if bug and bug not in BUGS:
        raise ValueError(f"Expected one of the bugs {', '.join(BUGS)}. Received: {bug!r}.")
    tables = Tables(CHANGES.get(bug))
    # In memory where there is such a folder: archives are written there first.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="headstart-simulation-", dir=memory) as folder:
        scratch = Path(folder)
        (scratch / SECRETS).write_text(f"whsec_{base64.b64encode(b's' * 32).decode()}\n")
        # Collected between simulations: their tasks and errors refer to each other.
        gc.disable()
        # Objects from before would be searched each time. They stay frozen.
        gc.collect()
        gc.freeze()
        try:
            with BUGS[bug]() if bug else nullcontext():
                yield Simulator(tables, scratch)
        finally:
            gc.enable()
            tables.close()


def _kind(violations: tuple[str, ...]) -> str:
    return _first_words(violations[0])


def _first_words(violation: str) -> str:
    """What kind of thing is broken: the words without the names in them."""
    return " ".join(word for word in violation.split()[:6] if word.isalpha())
