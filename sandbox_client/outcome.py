"""How a program ended. Pure."""

import re
from enum import StrEnum

# The last line of a traceback: `MemoryError`, `numpy._core._exceptions._ArrayMemoryError: Unable to allocate ...`.
_MEMORY_ERROR = re.compile(r"(?:[A-Za-z_]\w*\.)*_?(?:Array)?MemoryError(?::.*)?")
# As Python reports a signal, and as a shell does.
_KILLED = (-9, 128 + 9)


class ExecutionStatus(StrEnum):
    """How a program ended."""

    SUCCESS = "success"
    FAILED = "failed"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    """Inferred, see `out_of_memory`."""


def out_of_memory(return_code: int | None, stderr: str) -> bool:
    """Whether a program that failed inside its time limit ran out of memory.

    Sandbox Fusion has no word for it, so it is inferred: the last line on standard error is a MemoryError, or SIGKILL
    ended the program, which is what the kernel's out-of-memory killer sends. A program that kills itself with SIGKILL,
    or that prints such a line last and fails for another reason, cannot be told apart.
    """
    if return_code in _KILLED:
        return True
    # Only the last line is looked at, however long the rest is.
    last = stderr.rstrip()
    last = last[last.rfind("\n") + 1 :]
    return _MEMORY_ERROR.fullmatch(last.rstrip("\r")) is not None
