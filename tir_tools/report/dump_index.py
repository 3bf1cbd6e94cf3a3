"""The trajectory dump read once: where each trajectory lies, what it is to be chosen by, and what its step adds up to.

A dump may hold gigabytes. One pass keeps a small entry per trajectory; the texts of those shown are read again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from math_answers.verdict import Verdict
from tir_tools.report.behaviours import Behaviour, behaviours
from verl_tir.dump.format import DumpedTrajectory, Fate
from verl_tir.dump.reader import dump_files, read_at, read_file
from verl_tir.metrics.summary import summarize
from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.trajectory import StopReason

TRAIN = "train"


@dataclass(frozen=True, slots=True)
class Entry:
    """One trajectory of the dump."""

    path: Path
    offset: int
    """Of its line, in bytes."""
    run: str
    partition: str
    step: int
    uid: str
    """Of its group."""
    source: str
    """Its benchmark; empty where the data set has none."""
    fate: Fate
    reason: str | None
    correct: bool | None
    void: bool
    stop: StopReason
    undecided: bool
    behaviours: frozenset[Behaviour]


@dataclass(frozen=True, slots=True)
class DumpIndex:
    """A dump as far as it was written."""

    entries: tuple[Entry, ...]
    """In the order of steps, without those that a resumed run did again."""
    metrics: Mapping[int, Mapping[str, float]]
    """Of each training step: under `dump/` what only the dump knows, and `tir/...` as the sampler computes it."""
    repeated: int
    """Trajectories of steps that a resumed run did again; the later ones count."""
    sessions: int
    """Processes that wrote it: 1, and one more for each time that the run was resumed."""
    unreadable: int
    """Lines that a killed process left half written."""


@dataclass(frozen=True, slots=True)
class _Session:
    """What one process wrote to a file, which is one step's."""

    entries: list[Entry]
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class _File:
    sessions: list[_Session]
    unreadable: int


def index_dump(folder: Path) -> DumpIndex:
    """Read a dump; an empty one where the folder holds none yet.

    Raises:
        DumpError: a line was written by another version, or by something else.
    """
    files = [_read(path) for path in dump_files(folder)]
    read = [session for file in files for session in file.sessions]
    begins = _first_steps(entry for session in read for entry in session.entries)
    last_words = [session for session in read if _is_last_word(session.entries[0], begins)]
    entries = tuple(entry for session in last_words for entry in session.entries)
    return DumpIndex(
        entries,
        {session.entries[0].step: session.metrics for session in last_words if session.metrics},
        repeated=sum(len(session.entries) for session in read) - len(entries),
        sessions=len({session.entries[0].run for session in read}),
        unreadable=sum(file.unreadable for file in files),
    )


def load(entries: Iterable[Entry]) -> list[DumpedTrajectory]:
    """The trajectories themselves, read again, in the order of `entries`."""
    wanted = list(entries)
    by_file: defaultdict[Path, list[int]] = defaultdict(list)
    for entry in wanted:
        by_file[entry.path].append(entry.offset)
    found = {}
    for path, offsets in by_file.items():
        offsets.sort()
        found |= {(path, offset): item for offset, item in zip(offsets, read_at(path, offsets), strict=True)}
    return [found[entry.path, entry.offset] for entry in wanted]


def dump_metrics(entries: Sequence[Entry]) -> dict[str, float]:
    """What only the dump knows of a training step, as metrics; what has no value is left out."""
    fates = Counter(entry.fate for entry in entries)
    batch = [entry for entry in entries if entry.fate is not Fate.EVICTED]
    values: dict[str, float] = {f"dump/fate/{fate}": fates[fate] for fate in Fate}
    values |= {f"dump/reason/{reason}": n for reason, n in Counter(e.reason for e in entries if e.reason).items()}
    for behaviour in Behaviour:
        values[f"dump/behaviour/{behaviour}"] = sum(behaviour in entry.behaviours for entry in batch) / max(
            len(batch), 1
        )
    values["dump/void_trained"] = sum(e.void and e.fate is Fate.TRAIN for e in batch) / max(len(batch), 1)
    values["dump/undecided"] = sum(entry.undecided for entry in entries) / len(entries)
    known: defaultdict[str, list[bool]] = defaultdict(list)
    groups: defaultdict[str, list[bool]] = defaultdict(list)
    for entry in entries:
        if entry.correct is not None:
            groups[entry.uid].append(entry.correct)
            if entry.fate is not Fate.EVICTED:
                known[entry.source or "unnamed"].append(entry.correct)
    if len(known) > 1:  # one alone is the whole
        values |= {f"dump/source/{source}/correct": sum(right) / len(right) for source, right in known.items()}
    if groups:
        values["dump/groups/all right"] = sum(map(all, groups.values())) / len(groups)
        values["dump/groups/all wrong"] = sum(not any(right) for right in groups.values()) / len(groups)
        values["dump/groups/mixed"] = sum(any(r) and not all(r) for r in groups.values()) / len(groups)
    return values


def _read(path: Path) -> _File:
    entries: defaultdict[str, list[Entry]] = defaultdict(list)
    batches: defaultdict[str, list[FinishedRow]] = defaultdict(list)
    rewards: defaultdict[str, list[float]] = defaultdict(list)
    unreadable = 0
    for line in read_file(path):
        item = line.item
        if item is None:
            # The last one may still be being written.
            unreadable += line.ended
            continue
        entry = _entry(path, line.offset, item)
        entries[item.run].append(entry)
        if not (item.trajectory.aborted or entry.undecided):
            rewards[item.run].append(item.reward)
        # What a gate refused is in no metric of the batch.
        if item.fate is not Fate.EVICTED:
            batches[item.run].append(_row(item))
    training = path.parent.name == TRAIN
    sessions = [
        _Session(found, _metrics(found, batches[run], rewards[run]) if training else {})
        for run, found in entries.items()
    ]
    return _File(sessions, unreadable)


def _metrics(entries: Sequence[Entry], batch: Sequence[FinishedRow], rewards: Sequence[float]) -> dict[str, float]:
    mean = {"tir/filter/sampled/reward_mean": sum(rewards) / len(rewards)} if rewards else {}
    return summarize(batch) | dump_metrics(entries) | mean


def _row(item: DumpedTrajectory) -> FinishedRow:
    verdict = {True: Verdict.CORRECT, False: Verdict.WRONG, None: Verdict.UNDECIDED}[item.correct]
    return FinishedRow(item.key, item.trajectory, item.reward, verdict, item.reward_extra)


def _entry(path: Path, offset: int, item: DumpedTrajectory) -> Entry:
    trajectory = item.trajectory
    return Entry(
        path=path,
        offset=offset,
        run=item.run,
        partition=item.partition,
        step=item.step,
        uid=item.uid,
        source=str(item.data_source or ""),
        fate=item.fate,
        reason=item.reason,
        correct=item.correct,
        void=trajectory.void,
        stop=trajectory.stop_reason,
        undecided=bool(item.reward_extra.get("undecided")),
        behaviours=behaviours(trajectory, item.prompt, item.texts),
    )


def _first_steps(entries: Iterable[Entry]) -> dict[str, int]:
    """The first training step of each process, in the order in which they began."""
    first: dict[str, int] = {}
    for entry in entries:
        if entry.partition == TRAIN:
            first[entry.run] = min(entry.step, first.get(entry.run, entry.step))
    return dict(sorted(first.items()))


def _is_last_word(entry: Entry, begins: Mapping[str, int]) -> bool:
    """Whether no later process did the step again, or is about to."""
    return not any(run > entry.run and entry.step >= first for run, first in begins.items())
