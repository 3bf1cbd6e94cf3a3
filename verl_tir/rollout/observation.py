"""What the model is shown of its program's run: a text by one of the rules here, within the frame of the turn rule.

`result` is ours; `reference` is the rule of SimpleTIR's published code, which lets a warning on stderr hide the result
on stdout; `torl` is that of ToRL (arXiv 2503.23383).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from verl_tir.rollout.frame import Frame
from verl_tir.trajectory import Outcome, SandboxCall

PREFIX = "\nCode execution result: "
SUFFIX = "\n"
SIMPLETIR_FRAME = Frame(PREFIX, SUFFIX)
"""`\\nCode execution result: {text}\\n` (SimpleTIR, appendix "prompt template")."""
TIMEOUT_TEXT = "interpreter timeout"


class ObservationRule(StrEnum):
    """How stdout and stderr become the text shown."""

    RESULT = "result"
    """stdout when the program passed; when it failed, stdout and then the last line of stderr."""
    REFERENCE = "reference"
    """The last line of stderr if there is any, else stdout: published SimpleTIR numbers used this."""
    TORL = "torl"
    """stdout when the program passed or printed anything, else the last line of stderr."""


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


def observe(run: ProgramRun, rule: ObservationRule, max_chars: int, frame: Frame = SIMPLETIR_FRAME) -> Observation:
    """Render `run` within `frame`, each output cut to its head and tail where it has too many characters.

    Too many are more than `max_chars`; under `torl` also just as many, and then `...` stands for the middle.
    """
    shown = _TEXTS[rule](run, max_chars)
    return Observation(f"{frame.before}{shown.text}{frame.after}", shown.truncated)


def truncate_middle(text: str, max_chars: int) -> tuple[str, bool]:
    """Keep the first and the last half of `max_chars` characters around a marker; also say whether it cut."""
    if len(text) <= max_chars:
        return text, False
    return _without_middle(
        text, max_chars, f"\n..._This content has been truncated to stay below {max_chars} characters_...\n"
    ), True


def _result(run: ProgramRun, max_chars: int) -> Observation:
    stdout, stdout_cut = truncate_middle(run.stdout, max_chars)
    if run.outcome is Outcome.SUCCESS:
        return Observation(stdout, stdout_cut)
    if run.outcome is Outcome.TIME_LIMIT:
        error, error_cut = TIMEOUT_TEXT, False
    else:
        error, error_cut = truncate_middle(_last_line(run.stderr), max_chars)
    separator = "" if not stdout or stdout.endswith("\n") else "\n"
    return Observation(f"{stdout}{separator}{error or _end(run)}", stdout_cut or error_cut)


def _reference(run: ProgramRun, max_chars: int) -> Observation:
    error = _last_line(run.stderr)
    if not error and not run.stdout and run.outcome is not Outcome.SUCCESS:
        return Observation(TIMEOUT_TEXT, False)
    return Observation(*truncate_middle(error or run.stdout, max_chars))


def _torl(run: ProgramRun, max_chars: int) -> Observation:
    passed = run.outcome is Outcome.SUCCESS or run.stdout
    # A program that was killed leaves no error, and a model that is told nothing learns nothing of it.
    text = run.stdout if passed else _last_line(run.stderr) or _end(run)
    if len(text) < max_chars:
        return Observation(text, False)
    return Observation(_without_middle(text, max_chars, "..."), True)


_TEXTS = {ObservationRule.RESULT: _result, ObservationRule.REFERENCE: _reference, ObservationRule.TORL: _torl}


def _without_middle(text: str, max_chars: int, marker: str) -> str:
    half = max_chars // 2
    return text[:half] + marker + text[len(text) - half :]


def _last_line(stderr: str) -> str:
    return stderr.strip().rpartition("\n")[2]


def _end(run: ProgramRun) -> str:
    """How a program ended that left no error."""
    if run.outcome is Outcome.TIME_LIMIT:
        return TIMEOUT_TEXT
    return "failed" if run.return_code is None else f"exit code {run.return_code}"
