"""What the model is shown of its program's run.

`\\nCode execution result: {text}\\n` (SimpleTIR, appendix "prompt template"). Two rules make the text: `result`, ours,
and `reference`, the rule of SimpleTIR's published code, which lets a warning on stderr hide the result on stdout.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from verl_tir.trajectory import Outcome, SandboxCall

PREFIX = "\nCode execution result: "
SUFFIX = "\n"
TIMEOUT_TEXT = "interpreter timeout"


class ObservationRule(StrEnum):
    """How stdout and stderr become the text shown."""

    RESULT = "result"
    """stdout when the program passed; when it failed, stdout and then the last line of stderr."""
    REFERENCE = "reference"
    """The last line of stderr if there is any, else stdout: published SimpleTIR numbers used this."""


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """A program's run as the rollout needs it, free of the sandbox's wire format."""

    outcome: Outcome
    """Never `Outcome.FAULT`: a fault is no run."""
    stdout: str
    stderr: str
    return_code: int | None
    call: SandboxCall | None = None
    """Where the call's time went, for the metrics."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The text appended after a turn's code, and whether any of the output is missing from it."""

    text: str
    truncated: bool


def observe(run: ProgramRun, rule: ObservationRule, max_chars: int) -> Observation:
    """Render `run` as an observation, each output cut to `max_chars` characters (head and tail kept)."""
    stdout, stdout_cut = truncate_middle(run.stdout, max_chars)
    error, error_cut = truncate_middle(_last_line(run.stderr), max_chars)
    if rule is ObservationRule.REFERENCE:
        if error:
            return _observation(error, error_cut)
        if not stdout and run.outcome is not Outcome.SUCCESS:
            return _observation(TIMEOUT_TEXT, False)
        return _observation(stdout, stdout_cut)
    if run.outcome is Outcome.SUCCESS:
        return _observation(stdout, stdout_cut)
    if run.outcome is Outcome.TIME_LIMIT:
        error, error_cut = TIMEOUT_TEXT, False
    elif not error:
        error = "failed" if run.return_code is None else f"exit code {run.return_code}"
    separator = "" if not stdout or stdout.endswith("\n") else "\n"
    return _observation(f"{stdout}{separator}{error}", stdout_cut or error_cut)


def truncate_middle(text: str, max_chars: int) -> tuple[str, bool]:
    """Keep the first and the last half of `max_chars` characters around a marker; also say whether it cut."""
    if len(text) <= max_chars:
        return text, False
    half = max_chars // 2
    marker = f"\n..._This content has been truncated to stay below {max_chars} characters_...\n"
    return text[:half] + marker + text[len(text) - half :], True


def _last_line(stderr: str) -> str:
    return stderr.strip().rpartition("\n")[2]


def _observation(text: str, truncated: bool) -> Observation:
    return Observation(text=f"{PREFIX}{text}{SUFFIX}", truncated=truncated)
