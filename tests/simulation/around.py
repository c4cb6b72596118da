"""What may happen around a transaction of a replica: others come first, it fails, or its replica dies."""

from typing import TYPE_CHECKING

from headstart_server.errors import DatabaseUnavailable
from simulation.database import Transactions
from simulation.replica import POLL_SECONDS, Replica

if TYPE_CHECKING:
    from simulation.world import World

#: Transactions that add no event of a job and change no version or alias.
_UNSEEN = {
    "jobs.heartbeat",
    "replicas.leave",
    "webhooks.claim",
    "webhooks.deliver",
    "webhooks.record_failure",
    "cleaning.take_turn",
    "archives.sweep",
    "archives.measure",
    "archives.release",
    "datasets.create",
    "datasets.append",
    "datasets.finish",
    "datasets.delete",
    "feedback.add",
    "feedback.leave_out",
    "feedback.note_failure",
    "captures.begin",
    "captures.write",
    "captures.erase",
    "captures.rewrite",
    "captures.doom",
    "captures.remove",
    "captures.expire",
    "captures.give_up",
    "captures.note_gaps",
    "examples.erase",
    "examples.record_rewrite",
    "examples.forget_digests",
    "erasures.add_versions",
    "erasures.skip",
    "erasures.claim",
    "erasures.release",
    "erasures.forget_found",
    "erasures.finish",
}
#: Transactions of jobs that change versions or aliases, too.
_PUBLISHING = {"jobs.succeed", "jobs.publish"}


class Around(Transactions):
    """The world's part in the transactions of one replica."""

    def __init__(self, world: "World", replica: Replica) -> None:
        self._world = world
        self._replica = replica
        self._dies = False

    def begin(self, name: str) -> None:
        world, scheduler = self._world, self._world.scheduler
        if world.is_slow_kind(name) or world.happens(world.plan.slow_share):
            seconds = world.chance.uniform(0.1, 0.6)
            world.note_trouble(self._replica, scheduler.now + seconds + POLL_SECONDS)
        else:
            seconds = 0.001 + 0.004 * world.chance.random()
        scheduler.sleep(seconds)
        if world.is_cut_off(self._replica):
            scheduler.note(f"{name}: no database")
            scheduler.sleep(world.chance.uniform(0.02, 0.1))
            raise DatabaseUnavailable("The database does not answer.")
        if world.takes_fault():
            self._fail_before(name)
        if scheduler.is_traced:
            scheduler.note(name)

    def _fail_before(self, name: str) -> None:
        world = self._world
        world.coverage["failed transactions"] += 1
        if world.chance.random() < 0.5:
            world.scheduler.note(f"{name}: the replica dies before it")
            world.crash(self._replica)
        world.scheduler.note(f"{name}: fails before it began")
        world.note_trouble(self._replica, world.scheduler.now + 2 * POLL_SECONDS)
        raise DatabaseUnavailable("The connection was lost.")

    def commit(self, name: str) -> bool:
        world = self._world
        if not world.takes_fault():
            return False
        what = world.chance.choice(("undone", "dies before", "dies after", "answer lost", "answer lost"))
        world.scheduler.note(f"{name}: commit: {what}")
        world.note_trouble(self._replica, world.scheduler.now + 2 * POLL_SECONDS)
        is_ambiguous = what in ("dies after", "answer lost")
        world.coverage["ambiguous commits" if is_ambiguous else "undone commits"] += 1
        if what == "undone":
            raise DatabaseUnavailable("The connection was lost at the commit.")
        if what == "dies before":
            world.crash(self._replica)
        self._dies = what == "dies after"
        return what == "answer lost"

    def committed(self, name: str) -> None:
        world = self._world
        if name not in _UNSEEN:
            world.changes += 1
            world.registry_changes += name in _PUBLISHING or not name.startswith("jobs.")
            if world.has_data and name in ("jobs.succeed", "erasures.replace"):
                world.note_published()
        if self._dies:
            world.crash(self._replica)
        if world.chance.random() < 0.3:
            world.scheduler.sleep(world.chance.uniform(0.001, 0.05))

    def now(self) -> float:
        return self._world.database_now()
