"""What ToRL's public code decides in a trajectory, restated with its faults. Imports nothing of ours.

Written from a description of that code's behaviour and not from the code; what the description leaves open is not here.
"""

import re
from dataclasses import dataclass

REQUEST = "```output"
_BLOCK = re.compile(r"```python\n(?P<code>.*?)\n```", re.DOTALL)


@dataclass(frozen=True)
class Result:
    """What its sandbox returned."""

    stdout: str = ""
    error: str = ""
    success: bool = True


@dataclass(frozen=True)
class Decision:
    """What it does with the model's segments, given in the order in which the model would write them."""

    codes: tuple[str, ...]
    """What is executed."""
    observations: tuple[str, ...]
    """What is appended behind the requests."""
    trained: tuple[str, ...]
    """The model's texts that are in the loss."""
    mask: str
    """Whether the observations are what the loss leaves out: `exact` or `shifted`."""


def decide(segments: list[str], results: list[Result], calls: int) -> Decision:
    """The decisions with at most `calls` tool calls; each segment goes as far as the model goes on by itself."""
    codes: list[str] = []
    observations: list[str] = []
    trained: list[str] = []
    for segment in segments:
        before, request, _ = segment.partition(REQUEST)
        if not request or len(codes) == calls:
            # Behind the last call nothing stops the model: outputs that it invents are its text like any other.
            trained.append(segment)
            break
        trained.append(before + request)
        codes.append(_BLOCK.findall(before)[-1])
        observations.append(f"\n{shown(results[len(codes) - 1])}\n```\n")
    return Decision(tuple(codes), tuple(observations), tuple(trained), "shifted" if len(codes) > 1 else "exact")


def shown(result: Result) -> str:
    """Standard output if there is any or the program passed, else the last line of the error."""
    text = result.stdout if result.success or result.stdout else result.error.strip().split("\n")[-1]
    return text if len(text) < 256 else f"{text[:128]}...{text[-128:]}"


def score(*, correct: bool, executed: bool | None, penalty: float) -> float:
    """`executed` is None where the response has no code: which does not execute either, it says."""
    return (1.0 if correct else -1.0) - (0.0 if executed else penalty)
