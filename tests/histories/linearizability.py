"""Decides whether reads and writes of one register can be ordered so that each read returns the last write.

The algorithm is the just-in-time linearization of Lowe, "Testing for linearizability" (2017), which
follows Wing and Gong (1993). Reads have no effect, so each is linearized as soon as its state occurs. A
configuration is dropped if another one with the same state can do at least as much, so that the many
calls of unknown outcome around a failure do not multiply.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

State = frozenset[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Write:
    """A write.

    Attributes:
        state: the versions that a read may return afterwards; empty after a removal.
        start: earliest time of the effect.
        end: latest time of the effect.
        is_certain: whether it took effect at all.
    """

    state: State
    start: float
    end: float
    is_certain: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """A read.

    Attributes:
        value: the version that it returned; None if it found nothing.
        start: earliest time for which the value may have been right.
        end: latest time.
        after: writes that must have taken effect before.
    """

    value: int | None
    start: float
    end: float
    after: Sequence[Write] = ()

    def agrees(self, state: State, due: Iterable[Write]) -> bool:
        """Return whether a register in this state, with these writes still due, may have given the value."""
        if any(write is other for write in due for other in self.after):
            return False
        return self.value in state if self.value is not None else not state


@dataclass(frozen=True, slots=True)
class _Configuration:
    """One way in which the operations so far may have happened; numbers are places in the list of operations.

    Attributes:
        state: of the register.
        due: the writes under way that must still take effect.
        possible: the writes of unknown outcome that may still take effect.
        waiting: the reads under way whose state has not occurred.
    """

    state: State
    due: frozenset[int] = frozenset()
    possible: frozenset[int] = frozenset()
    waiting: frozenset[int] = frozenset()

    def pending(self) -> frozenset[int]:
        return self.due | self.possible | self.waiting

    def can_do_as_much_as(self, other: "_Configuration") -> bool:
        """Return whether all that another one of the same state explains is explained by this one."""
        return self.due == other.due and self.possible >= other.possible and self.waiting <= other.waiting


class _Configurations:
    """Configurations of which none can do as much as another one."""

    def __init__(self, found: Iterable[_Configuration] = ()) -> None:
        self._by_state: dict[State, list[_Configuration]] = defaultdict(list)
        for configuration in found:
            self.add(configuration)

    def __iter__(self) -> Iterator[_Configuration]:
        for found in self._by_state.values():
            yield from found

    def __bool__(self) -> bool:
        return any(self._by_state.values())

    def add(self, configuration: _Configuration) -> bool:
        """Add a configuration unless another one can do as much; return whether it was added."""
        kept = self._by_state[configuration.state]
        if any(other.can_do_as_much_as(configuration) for other in kept):
            return False
        kept[:] = [other for other in kept if not configuration.can_do_as_much_as(other)]
        kept.append(configuration)
        return True


def first_violation(operations: Iterable[Write | Read], initial: State = frozenset()) -> str | None:
    """Return a description of the first operation that no order explains; None if an order explains all."""
    known = list(operations)
    # A call that begins when another one returns may come before it.
    starts = ((operation.start, 0, place) for place, operation in enumerate(known))
    ends = ((operation.end, 1, place) for place, operation in enumerate(known))
    configurations = _Configurations([_Configuration(initial)])
    for _, is_end, place in sorted((*starts, *ends)):
        operation = known[place]
        if not is_end:
            configurations = _Configurations(_with(known, each, place) for each in configurations)
            continue
        explained = _Configurations(
            each for each in _reachable(known, configurations) if place not in each.pending()
        )
        if isinstance(operation, Write) and not operation.is_certain:
            # It may never have taken effect.
            for each in configurations:
                explained.add(replace(each, possible=each.possible - {place}))
        if not explained:
            return _describe(operation, known, configurations)
        configurations = explained
    return None


def _with(known: list[Write | Read], configuration: _Configuration, place: int) -> _Configuration:
    """Return the configuration after a call has begun."""
    operation = known[place]
    if isinstance(operation, Read):
        if _agrees(known, place, configuration.state, configuration.due):
            return configuration
        return replace(configuration, waiting=configuration.waiting | {place})
    if operation.is_certain:
        return replace(configuration, due=configuration.due | {place})
    return replace(configuration, possible=configuration.possible | {place})


def _reachable(known: list[Write | Read], configurations: _Configurations) -> _Configurations:
    """Return the configurations with any of the pending writes carried out, in any order."""
    found = _Configurations(configurations)
    todo = list(configurations)
    while todo:
        each = todo.pop()
        for place, write in _next_writes(known, each):
            due = each.due - {place}
            after = _Configuration(
                state=write.state,
                due=due,
                possible=each.possible - {place},
                waiting=frozenset(
                    read for read in each.waiting if not _agrees(known, read, write.state, due)
                ),
            )
            if found.add(after):
                todo.append(after)
    return found


def _next_writes(known: list[Write | Read], configuration: _Configuration) -> Iterator[tuple[int, Write]]:
    """Yield the pending writes, of equal ones of unknown outcome the one that ends first."""
    possible: dict[State, tuple[int, Write]] = {}
    for place in configuration.due | configuration.possible:
        write = known[place]
        assert isinstance(write, Write)
        if place in configuration.due:
            yield place, write
        elif write.state not in possible or (write.end, place) < (
            possible[write.state][1].end,
            possible[write.state][0],
        ):
            possible[write.state] = place, write
    yield from possible.values()


def _agrees(known: list[Write | Read], place: int, state: State, due: Iterable[int]) -> bool:
    operation = known[place]
    writes = (known[other] for other in due)
    return isinstance(operation, Read) and operation.agrees(
        state, (write for write in writes if isinstance(write, Write))
    )


def _describe(operation: Write | Read, known: list[Write | Read], configurations: _Configurations) -> str:
    states = sorted({tuple(sorted(each.state)) for each in configurations})
    near = [other for other in known if isinstance(other, Write) and other.end > operation.start - 5]
    what = f"{operation} cannot be explained; possible states before: {states}"
    return what + "".join(f"\n    {write}" for write in near[:8] if write.start < operation.end)
