"""How many threads torch gets in verl's processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from verl_cpu.threads import threads

CORES = len(os.sched_getaffinity(0))
PROGRAM = """
import os, torch
os.environ.update(CHANGES)
from verl_cpu.threads import install
install()
print(torch.get_num_threads(), os.environ["OMP_NUM_THREADS"])
"""


def _found(environment: dict[str, str], changes: dict[str, str]) -> list[str]:
    """Threads of torch and of child processes, where a process began with one and then changed its variables."""
    clean = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    program = PROGRAM.replace("CHANGES", repr(changes))
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_ranks_share_the_cores() -> None:
    """Evenly, and none is left without."""
    assert [threads(8, 1), threads(8, 2), threads(8, 3), threads(2, 4)] == [8, 4, 2, 1]


@pytest.mark.parametrize(
    ("environment", "changes", "expected"),
    [
        ({}, {}, CORES),
        # Ray sets it in its worker, after the process has begun.
        ({}, {"OMP_NUM_THREADS": "1"}, CORES),
        ({}, {"OMP_NUM_THREADS": "1", "RAY_LOCAL_WORLD_SIZE": str(CORES)}, 1),
        ({"OMP_NUM_THREADS": "1"}, {}, 1),
    ],
    ids=["nobody said", "Ray said", "Ray said, as many ranks as cores", "the user said"],
)
def test_all_cores_unless_the_user_says_otherwise(
    environment: dict[str, str], changes: dict[str, str], expected: int
) -> None:
    """What Ray says is not what the user says."""
    assert _found(environment, changes) == [str(expected), str(expected)]
