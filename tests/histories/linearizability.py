"""Decides whether reads and writes of one register can be ordered so that each read returns the last write.

The algorithm is the just-in-time linearization of Lowe, "Testing for linearizability" (2017), which follows
Wing and Gong (1993). Reads have no effect, so each is linearized as soon as its state occurs. A
configuration is dropped if another one has the same state and writes, and fewer reads that still wait.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

State = frozenset[int]
#: The state, the writes that have not taken effect, and the reads whose state has not occurred.
_Configuration = tuple[State, frozenset[int], frozenset[int]]


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
    """

    value: int | None
    start: float
    end: float

    def agrees(self, state: State) -> bool:
        """Return whether a register in this state may have given the value."""
        return self.value in state if self.value is not None else not state


def first_violation(operations: Iterable[Write | Read], initial: State = frozenset()) -> str | None:
    """Return a description of the first operation that no order explains; None if an order explains all."""
    known = list(operations)
    # A call that begins when another one returns may come before it.
    starts = ((operation.start, 0, place) for place, operation in enumerate(known))
    ends = ((operation.end, 1, place) for place, operation in enumerate(known))
    configurations: set[_Configuration] = {(initial, frozenset(), frozenset())}
    for _, is_end, place in sorted((*starts, *ends)):
        operation = known[place]
        if not is_end:
            configurations = {_with(known, configuration, place) for configuration in configurations}
            continue
        explained = {
            configuration
            for configuration in _reachable(known, configurations)
            if place not in _pending(configuration)
        }
        if isinstance(operation, Write) and not operation.is_certain:
            # It may never have taken effect.
            explained |= {(state, writes - {place}, reads) for state, writes, reads in configurations}
        if not explained:
            return _describe(operation, known, configurations)
        configurations = _smallest(explained)
    return None


def _pending(configuration: _Configuration) -> frozenset[int]:
    return configuration[1] | configuration[2]


def _with(known: list[Write | Read], configuration: _Configuration, place: int) -> _Configuration:
    """Return the configuration after a call has begun."""
    state, writes, reads = configuration
    operation = known[place]
    if isinstance(operation, Write):
        return state, writes | {place}, reads
    return state, writes, reads if operation.agrees(state) else reads | {place}


def _reachable(known: list[Write | Read], configurations: set[_Configuration]) -> set[_Configuration]:
    """Return the configurations with any of the pending writes carried out, in any order."""
    found, todo = set(configurations), list(configurations)
    while todo:
        _, writes, reads = todo.pop()
        for place in writes:
            write = known[place]
            assert isinstance(write, Write)
            left = frozenset(read for read in reads if not _agrees(known[read], write.state))
            after = (write.state, writes - {place}, left)
            if after not in found:
                found.add(after)
                todo.append(after)
    return found


def _agrees(operation: Write | Read, state: State) -> bool:
    return isinstance(operation, Read) and operation.agrees(state)


def _smallest(configurations: set[_Configuration]) -> set[_Configuration]:
    """Drop configurations that can do no more than another one."""
    by_state: dict[tuple[State, frozenset[int]], list[frozenset[int]]] = defaultdict(list)
    for state, writes, reads in sorted(configurations, key=lambda configuration: len(configuration[2])):
        kept = by_state[state, writes]
        if not any(other <= reads for other in kept):
            kept.append(reads)
    return {(state, writes, reads) for (state, writes), kept in by_state.items() for reads in kept}


def _describe(operation: Write | Read, known: list[Write | Read], configurations: set[_Configuration]) -> str:
    states = sorted({tuple(sorted(state)) for state, _, _ in configurations})
    near = [other for other in known if isinstance(other, Write) and other.end > operation.start - 5]
    what = f"{operation} cannot be explained; possible states before: {states}"
    return what + "".join(f"\n    {write}" for write in near[:8] if write.start < operation.end)
