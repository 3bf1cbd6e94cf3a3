"""A scoring worker: a process that compares answers one at a time, until its pool goes away.

Protocol over one socket, a line of JSON each way: the worker sends `"ready"` once its imports are done and its limits
are set, then answers each `[answer, accepted answers]` with a verdict, and `[text, null]` with whether that reads as a
value. A worker that cannot continue dies, and the pool starts another.
"""

import argparse
import ctypes
import json
import logging
import os
import resource
import signal
import socket
import sys

from math_answers.equivalence import is_equivalent, is_readable
from math_answers.process import READY
from math_answers.verdict import Verdict

# Of the common kinds, since the parser learns its grammar as it reads, and a first reading takes ten times as long; and
# one that is left to math-verify's own comparison.
WARM_UP = (
    (r"\frac{2}{4} + x", "x + 0.5"),
    (r"\frac{\sqrt{3}}{2}", r"\frac{3}{2\sqrt{3}}"),
    (r"-\frac{3\pi}{4}", r"-0.75\pi"),
    (r"2\sqrt{5} + 10", r"\sqrt{20} + 10"),
    (r"(x+1)^2 - 3x", "x^2 - x + 1"),
    (r"5(\sqrt[3]{2} - 1)", r"5 \cdot 2^{\frac{1}{3}} - 5"),
    ("3 + 4i", "4i + 3"),
    (r"\sin^2 x", r"1 - \cos^2 x"),
    (r"\log_2 8 + e^{2}", r"3 + e^2"),
    (r"\binom{5}{2} - 3!", "4"),
    ("y = 2x + 3", "2x - y + 3 = 0"),
    (r"[0,1] \cup [1,2]", "[0,2]"),
)
# Seconds over the pool's own limit, so that the pool is the one to act while it lives.
_ALARM_MARGIN = 2.0
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str] | None = None) -> None:
    """Serve comparisons on the inherited socket until it closes."""
    parser = argparse.ArgumentParser(prog="python -m math_answers.worker", description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="inherited file descriptor")
    parser.add_argument("--parent", type=int, required=True, help="process id of the pool")
    parser.add_argument("--timeout", type=float, required=True, help="seconds of wall time for one comparison")
    parser.add_argument("--memory-limit-mb", type=int, required=True, help="address space of this process")
    options = parser.parse_args(arguments)

    _die_with(options.parent)
    # It warns that its own timeouts are off, which is as meant.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    # The first comparisons import sympy and build the parser's tables: seconds that belong to no one's timeout.
    for answer, truth in WARM_UP:
        is_equivalent(answer, truth)
    _limit_resources(options.memory_limit_mb)
    _silence()
    with socket.socket(fileno=options.socket) as connection, connection.makefile("rw", encoding="utf-8") as stream:
        stream.write(json.dumps(READY) + "\n")
        stream.flush()
        for line in stream:
            answer, accepted = json.loads(line)
            signal.setitimer(signal.ITIMER_REAL, options.timeout + _ALARM_MARGIN)
            verdict = judge_reading(answer) if accepted is None else judge(answer, accepted)
            signal.setitimer(signal.ITIMER_REAL, 0)
            stream.write(json.dumps(verdict) + "\n")
            stream.flush()


def judge(answer: str, accepted: list[str]) -> Verdict:
    """Compare under this process's limits. Any other exception ends the process, which the pool reads as undecided."""
    try:
        return Verdict.of(is_equivalent(answer, accepted))
    except (MemoryError, RecursionError):
        return Verdict.UNDECIDED


def judge_reading(text: str) -> Verdict:
    """Whether `text` reads as a value, under the same limits."""
    try:
        return Verdict.of(is_readable(text))
    except (MemoryError, RecursionError):
        return Verdict.UNDECIDED


def _die_with(parent: int) -> None:
    # An idle worker sees its socket close. A busy one may sit in C code forever and is ended by the kernel: on Linux
    # at the parent's death, elsewhere by the alarm of its comparison, whose default action needs no Python to run.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the scoring pool died while its worker started")


def _limit_resources(memory_limit_mb: int) -> None:
    limit = memory_limit_mb * 2**20
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _silence() -> None:
    # Start-up errors have reached the parent's stderr by now; from here on only parsers complain, about odd answers.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stderr.fileno())
    os.close(null)


if __name__ == "__main__":
    main()
