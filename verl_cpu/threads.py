"""All cores for torch in verl's processes.

Ray gives an actor without CPUs of its own, as verl's are, one thread (`OMP_NUM_THREADS=1`), and vLLM keeps a core free
for its server. Trainer and engine take turns, so each may have what there is.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

_VARIABLE = "OMP_NUM_THREADS"


def threads(cores: int, ranks: int) -> int:
    """Of one of `ranks` processes that compute at the same time on `cores` cores."""
    return max(1, cores // ranks)


def install() -> None:
    """Set the number of threads of this process and of those that it starts, unless the user has set it."""
    # What a process began with comes from the user's shell or `runtime_env`; Ray sets its own number later.
    if f"{_VARIABLE}=".encode() in Path("/proc/self/environ").read_bytes():
        return
    # verl's: of the trainer's processes on this machine.
    ranks = int(os.environ.get("RAY_LOCAL_WORLD_SIZE", "1"))
    number = threads(len(os.sched_getaffinity(0)), ranks)
    os.environ[_VARIABLE] = str(number)
    torch.set_num_threads(number)
