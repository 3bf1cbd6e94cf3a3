"""What SimpleTIR's published code (September 2025) decides after a turn, restated with its faults.

Imports nothing of ours. Written from a description of that code's behaviour and not from the code; what the description
leaves open is not here.
"""

import re
from dataclasses import dataclass

BOX = "\\boxed{"
LIMIT = 512
MARKER = "\n..._This content has been truncated to stay below 512 characters_...\n"

# It looks for fences anywhere, not line by line in pairs, and knows its three tags in lower case, directly before a
# line feed. So the closing fence of a block of another language opens one.
_BLOCK = re.compile(r"```(?:py|python)?\n(?P<code>.*?)\n```", re.DOTALL)


@dataclass(frozen=True)
class Result:
    """What its sandbox returned."""

    stdout: str = ""
    stderr: str = ""
    success: bool = True


@dataclass(frozen=True)
class Decision:
    """What it does with a turn."""

    code: str | None
    """What is executed."""
    observation: str | None
    """What is appended; None for nothing."""
    ended: bool
    """Whether the trajectory ends, limits aside."""
    void: bool
    context: str
    """The turn as it enters the context."""
    answer: str | None
    """What is scored, where the trajectory ends."""


def decide(text: str, result: Result, room: int | None = None) -> Decision:
    """The decision on a turn's whole text, whose code, if it has any, gives `result`.

    `room` is how many characters of the response budget are left for an observation. It does not look at it.
    """
    found = _BLOCK.search(text)
    kept = text if found is None else text[: found.end()]
    observation = None if found is None else f"\nCode execution result: {shown(result)}\n"
    # Here the full output is looked at, and for the score below the shown one.
    ended = BOX in kept or (found is not None and BOX in result.stdout) or found is None
    return Decision(
        code=None if found is None else found["code"],
        observation=observation,
        ended=ended,
        void=found is None and BOX not in kept,
        context=text if found is None else f"{text[: found.start()].strip()}{found.group().strip()}",
        answer=scored(kept + (observation or "")) if ended else None,
    )


def shown(result: Result) -> str:
    """Standard error's last line hides standard output."""
    if result.stderr:
        return cut(result.stderr.strip().split("\n")[-1])
    if result.stdout:
        return cut(result.stdout)
    return "" if result.success else "interpreter timeout"


def cut(text: str) -> str:
    return text if len(text) <= LIMIT else text[: LIMIT // 2] + MARKER + text[-LIMIT // 2 :]


def scored(text: str) -> str | None:
    """The last box's content, or without any the last number."""
    start = text.rfind(BOX)
    if start >= 0:
        depth, at = 1, start + len(BOX)
        while at < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        return text[start + len(BOX) : at - 1] if not depth else None
    numbers = re.findall(r"\d+(?:\.\d+)?", text)
    return numbers[-1] if numbers else None


def outage(*, late: bool) -> Result:
    """A sandbox that is away looks like a program without output, or like one that was late."""
    return Result(success=not late)
