"""Tasks that take turns on a simulated clock, without threads: the same seed always gives the same run.

A task runs until it sleeps or waits. Tasks belong to a host, a simulated process, which can be paused or die.
"""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet


class Host:
    """A simulated process, or the world outside of all.

    Attributes:
        name: of the process.
        is_alive: whether it has not died.
        paused_until: before that none of its tasks runs.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_alive = True
        self.paused_until = 0.0
        # Dictionaries, for their order is that of insertion.
        self.tasks: dict[Task, None] = {}
        self.replies: dict[Reply, None] = {}


class Task:
    """One line of work; ends quietly when its host dies."""

    __slots__ = ("_work", "doze", "greenlet", "host", "is_over", "is_parked", "name", "turns")

    def __init__(self, work: Callable[[], object], host: Host, name: str, hub: greenlet) -> None:
        self.host = host
        self.name = name
        self.is_over = False
        self.is_parked = False
        #: While it dozes: the seconds to the next look, and whether there is something to do.
        self.doze: tuple[Callable[[], float], Callable[[], bool]] | None = None
        #: How often it ran: an entry of the queue from before its last turn is out of date.
        self.turns = 0
        self._work = work
        self.greenlet = greenlet(self._run, hub)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self.is_over = True
            self.host.tasks.pop(self, None)


class Reply:
    """What a call to a host comes to."""

    def __init__(self, caller: Task) -> None:
        self.caller = caller
        self.is_there = False
        self.value: Any = None
        self.error: BaseException | None = None


class LostError(Exception):
    """The server that was called is not there, or died before it answered."""


class Scheduler:
    """Runs tasks in the order of their times; those of the same time in the order they came.

    Args:
        trace: is given a line for every step; None for nothing.
    """

    def __init__(self, trace: Callable[[str], None] | None = None) -> None:
        self.now = 0.0
        self.outside = Host("outside")
        self.is_traced = trace is not None
        self._trace = trace
        self._queue: list[tuple[float, int, Task, int]] = []
        self._numbers = count()
        self._hub = getcurrent()
        self._current: Task | None = None
        self._hosts: dict[Host, None] = {}
        self._dying: list[Host] = []

    def note(self, what: str) -> None:
        """Write a line into the trace."""
        if self._trace is not None:
            where = "" if self._current is None else f"{self._current.host.name}/{self._current.name}"
            self._trace(f"{self.now:9.4f}  {where:24} {what}")

    def spawn(
        self, work: Callable[[], object], name: str, host: Host | None = None, delay: float = 0.0
    ) -> Task:
        """Begin a task after some seconds."""
        task = Task(work, host or self.outside, name, self._hub)
        task.host.tasks[task] = None
        self._hosts[task.host] = None
        self._push(task, self.now + delay)
        return task

    def sleep(self, seconds: float) -> None:
        """Let others run for some seconds."""
        task = self._living()
        moment = self.now + seconds
        if (
            task.host.paused_until <= moment
            and not self._dying
            and (not self._queue or moment < self._queue[0][0])
        ):
            # It is this task's turn again: the number is that of the entry which it would have had.
            next(self._numbers)
            task.turns += 1
            self.now = moment
            return
        self._push(task, moment)
        self._hub.switch()

    def doze(self, seconds: Callable[[], float], is_needed: Callable[[], bool]) -> None:
        """Sleep as often as it takes until there is something to do; the task does not run between."""
        task = self._living()
        task.doze = (seconds, is_needed)
        self._push(task, self.now + seconds())
        self._hub.switch()

    def park(self, seconds: float | None = None) -> None:
        """Wait until somebody wakes this task, at most for some seconds."""
        task = self._living()
        if seconds is not None:
            self._push(task, self.now + seconds)
        task.is_parked = True
        self._hub.switch()

    def wake(self, task: Task) -> None:
        """Let a parked task go on."""
        if task.is_parked:
            task.is_parked = False
            task.doze = None
            self._push(task, self.now)

    def current(self) -> Task:
        """The task that runs."""
        assert self._current is not None, "only a task can wait"
        return self._current

    def kill(self, host: Host) -> None:
        """Let a host die immediately; one of its tasks that calls this does not go on."""
        if not host.is_alive:
            return
        host.is_alive = False
        self.note(f"{host.name} dies")
        self._dying.append(host)
        if self._current is not None and self._current.host is host:
            self._hub.switch()

    def run(self, until: Callable[[], bool]) -> None:
        """Run tasks until a condition holds or none is left."""
        while self._queue and not until():
            moment, _, task, turn = heapq.heappop(self._queue)
            if task.is_over or task.turns != turn:
                continue
            if task.host.paused_until > moment:
                self._push(task, task.host.paused_until)
                continue
            if moment > self.now:
                self.now = moment
            if task.doze is not None and not task.doze[1]():
                self._push(task, self.now + task.doze[0]())
                continue
            self._switch(task, task.greenlet.switch)
            while self._dying:
                self._bury(self._dying.pop())

    def close(self) -> None:
        """End every task."""
        for host in self._hosts:
            host.is_alive = False
            self._bury(host)
        self._queue.clear()

    def call(self, host: Host, work: Callable[[], Any], name: str, delay: float) -> Any:
        """Let a host do something, and wait for its answer.

        Raises:
            LostError: the host is not there, or died meanwhile: it may have done it or not.
        """
        if not host.is_alive:
            raise LostError
        reply = Reply(self.current())
        host.replies[reply] = None

        def serve() -> None:
            try:
                self._answer(reply, work(), None)
            except Exception as error:  # noqa: BLE001 - it is the caller's
                self._answer(reply, None, error)
            host.replies.pop(reply, None)

        self.spawn(serve, name, host, delay)
        while not reply.is_there:
            self.park()
        if reply.error is not None:
            raise reply.error
        return reply.value

    def _answer(self, reply: Reply, value: Any, error: BaseException | None) -> None:
        if not reply.is_there:
            reply.is_there, reply.value, reply.error = True, value, error
            self.wake(reply.caller)

    def _bury(self, host: Host) -> None:
        for task in list(host.tasks):
            task.is_over = True
            if task.greenlet:
                self._switch(task, lambda dead=task: dead.greenlet.throw(GreenletExit))
        host.tasks.clear()
        for reply in list(host.replies):
            self._answer(reply, None, LostError())
        host.replies.clear()

    def _switch(self, task: Task, switch: Callable[[], object]) -> None:
        task.turns += 1
        task.is_parked = False
        task.doze = None
        self._current = task
        switch()
        self._current = None

    def _living(self) -> Task:
        task = self.current()
        if not task.host.is_alive:
            raise GreenletExit
        return task

    def _push(self, task: Task, moment: float) -> None:
        heapq.heappush(self._queue, (moment, next(self._numbers), task, task.turns))


class TurnLock:
    """A lock between tasks, in the place of one between threads."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._is_held = False
        self._waiting: list[Task] = []

    def __enter__(self) -> None:
        while self._is_held:
            self._waiting.append(self._scheduler.current())
            self._scheduler.park()
        self._is_held = True

    def __exit__(self, *_: object) -> None:
        self._is_held = False
        if self._waiting:
            self._scheduler.wake(self._waiting.pop(0))


class Signal:
    """Wakes the task that waits for it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._is_set = False
        self._waiting: Task | None = None

    def set(self) -> None:
        """Wake it, or let its next wait end immediately."""
        self._is_set = True
        if self._waiting is not None:
            self._scheduler.wake(self._waiting)

    def clear(self) -> None:
        """Forget what was set before."""
        self._is_set = False

    def wait(self, seconds: float) -> None:
        """Wait until it is set, or some seconds are over."""
        if not self._is_set:
            self._waiting = self._scheduler.current()
            self._scheduler.park(seconds)
            self._waiting = None

    def doze(self, seconds: Callable[[], float], is_needed: Callable[[], bool]) -> None:
        """Wait until it is set, or there is something to do."""
        if not self._is_set:
            self._waiting = self._scheduler.current()
            self._waiting.is_parked = True
            self._scheduler.doze(seconds, is_needed)
            self._waiting = None
