"""Which trajectories a page shows of a run that has more than it can hold: the same ones each time, whole groups."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from tir_tools.report.dump_index import Entry

_Group = list[Entry]


def choose(entries: Sequence[Entry], at_most: int) -> list[Entry]:
    """Trajectories in the order of their worth, so that any beginning of the list is a fair sample too.

    Steps take turns, the first and the last one before those between. In a step, groups of different kinds take turns:
    kinds differ in whether the group holds right, wrong, void, aborted and undecided trajectories. A group is taken
    whole, as long as there is room for it; the last one may be cut.

    Args:
        entries: all there are.
        at_most: how many are wanted.
    """
    steps: defaultdict[tuple[int, str], defaultdict[str, _Group]] = defaultdict(lambda: defaultdict(list))
    for entry in sorted(entries, key=lambda entry: (entry.path, entry.offset)):
        steps[entry.step, entry.partition][entry.uid].append(entry)
    queues = [_by_kind(list(steps[step].values())) for step in _outside_in(sorted(steps))]
    chosen: list[Entry] = []
    for round_ in range(max(map(len, queues), default=0)):
        for queue in queues:
            if round_ < len(queue):
                chosen += queue[round_]
            if len(chosen) >= at_most:
                return chosen[:at_most]
    return chosen


def _by_kind(groups: list[_Group]) -> list[_Group]:
    """The groups of a step, one of each kind, then a second one of each, and so on."""
    kinds: defaultdict[tuple[bool, ...], list[_Group]] = defaultdict(list)
    for group in sorted(groups, key=lambda group: _draw(group[0].uid)):
        kinds[_kind(group)].append(group)
    # Rare kinds first: where there is room for few groups, they are what one would look for.
    queues = sorted(kinds.values(), key=len)
    return [queue[place] for place in range(max(map(len, queues))) for queue in queues if place < len(queue)]


def _kind(group: _Group) -> tuple[bool, ...]:
    return (
        any(entry.correct is True for entry in group),
        any(entry.correct is False for entry in group),
        any(entry.void for entry in group),
        any(entry.correct is None and not entry.undecided for entry in group),
        any(entry.undecided for entry in group),
    )


def _draw(uid: str) -> bytes:
    """A draw that is the same each time, whatever order the groups came in."""
    return hashlib.blake2b(uid.encode("utf-8", "replace"), digest_size=8).digest()


def _outside_in(steps: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The ends, then the middle, then the middles of the halves: any beginning of the list is spread evenly."""
    if len(steps) < 3:
        return steps
    order = [steps[0], steps[-1]]
    spans = [(0, len(steps) - 1)]
    while spans:
        following = []
        for low, high in spans:
            middle = (low + high) // 2
            if low < middle < high:
                order.append(steps[middle])
                following += [(low, middle), (middle, high)]
        spans = following
    return order
