"""What the model is shown of its program's run: a text by one of the rules here, within the frame of the turn rule.

`result` is ours; `reference` is the rule of SimpleTIR's published code, which lets a warning on stderr hide the result
on stdout; `torl` is that of ToRL (arXiv 2503.23383). `tir.observation.rule` names one of them, or one of the user's own
as `package.module:NAME`.

A frame is written by us, so its special tokens are real ones. What it frames was written by a model's program, so there
special tokens stay spelled out. The text next to the observation is tokenised together with it, as a chat template's
rendering would be; from the outermost special tokens outwards a frame is ids, which no limit cuts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from verl_tir.rollout.by_path import find_by_path
from verl_tir.rollout.tokens import fit_observation
from verl_tir.trajectory import Outcome, SandboxCall

TIMEOUT_TEXT = "interpreter timeout"


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """A program's run as the rollout needs it, free of the sandbox's wire format."""

    outcome: Outcome
    """Never `Outcome.FAULT`: after a fault there is no run to tell of."""
    stdout: str
    stderr: str
    return_code: int | None
    call: SandboxCall | None = None
    """Where the call's time went, for the metrics."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The text before and after an observation's text."""

    before: str
    after: str


SIMPLETIR_FRAME = Frame("\nCode execution result: ", "\n")
"""`\\nCode execution result: {text}\\n` (SimpleTIR, appendix "prompt template")."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The text appended after a turn's code, and whether any of the output is missing from it."""

    text: str
    truncated: bool


ObservationRule = Callable[[ProgramRun, int], Observation]
"""`rule(run, max_chars)` makes the text of stdout and stderr, showing `max_chars` characters; never raises."""

OBSERVATION_RULES: Mapping[str, str] = {
    name: f"verl_tir.rollout.observation:{name}" for name in ("result", "reference", "torl")
}
"""Names that stand for a path."""


def resolve_observation_rule(name: str) -> ObservationRule:
    """The rule of that name, or the function at that path.

    Raises:
        ValueError: there is none; the message says what is allowed, or why the import failed.
    """
    found = find_by_path(name, OBSERVATION_RULES)
    if not callable(found) or isinstance(found, type):
        raise ValueError(f"{name} is not an observation rule: it is not a function of a run and max_chars")
    return cast(ObservationRule, found)


def observe(run: ProgramRun, rule: ObservationRule, max_chars: int, frame: Frame = SIMPLETIR_FRAME) -> Observation:
    """Render `run` within `frame`, each output cut to its head and tail where it has too many characters.

    Too many are more than `max_chars`; under `torl` also just as many, and then `...` stands for the middle.
    """
    shown = rule(run, max_chars)
    return Observation(f"{frame.before}{shown.text}{frame.after}", shown.truncated)


def result(run: ProgramRun, max_chars: int) -> Observation:
    """stdout when the program passed; when it failed, stdout and then the last line of stderr."""
    stdout, stdout_cut = truncate_middle(run.stdout, max_chars)
    if run.outcome is Outcome.SUCCESS:
        return Observation(stdout, stdout_cut)
    if run.outcome is Outcome.TIME_LIMIT:
        error, error_cut = TIMEOUT_TEXT, False
    else:
        error, error_cut = truncate_middle(_last_line(run.stderr), max_chars)
    separator = "" if not stdout or stdout.endswith("\n") else "\n"
    return Observation(f"{stdout}{separator}{error or _end(run)}", stdout_cut or error_cut)


def reference(run: ProgramRun, max_chars: int) -> Observation:
    """The last line of stderr if there is any, else stdout: published SimpleTIR numbers used this."""
    error = _last_line(run.stderr)
    if not error and not run.stdout and run.outcome is not Outcome.SUCCESS:
        return Observation(TIMEOUT_TEXT, False)
    return Observation(*truncate_middle(error or run.stdout, max_chars))


def torl(run: ProgramRun, max_chars: int) -> Observation:
    """stdout when the program passed or printed anything, else the last line of stderr."""
    passed = run.outcome is Outcome.SUCCESS or run.stdout
    # A program that was killed leaves no error, and a model that is told nothing learns nothing of it.
    text = run.stdout if passed else _last_line(run.stderr) or _end(run)
    if len(text) < max_chars:
        return Observation(text, False)
    return Observation(_without_middle(text, max_chars, "..."), True)


def truncate_middle(text: str, max_chars: int) -> tuple[str, bool]:
    """Keep the first and the last half of `max_chars` characters around a marker; also say whether it cut."""
    if len(text) <= max_chars:
        return text, False
    marker = f"\n..._This content has been truncated to stay below {max_chars} characters_...\n"
    return _without_middle(text, max_chars, marker), True


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


_USER, _CALL, _OBSERVATION = "tiruser", "tircall", "tirobservation"
"""Contents of the conversation from which a chat template's frame is read; words that no template writes itself."""


class FrameError(ValueError):
    """A chat template does not show a tool message; the message says what to do."""


@dataclass(frozen=True, slots=True)
class TokenFrame:
    """A frame as a tokenizer needs it."""

    text: Frame
    """The innermost part, free of special tokens: it is tokenised, and cut, together with the observation."""
    head_ids: tuple[int, ...] = ()
    tail_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ObservationSettings:
    """How observations are made; shared by all trajectories."""

    rule: ObservationRule
    max_chars: int
    max_tokens: int
    """Of an observation with the innermost part of its frame."""
    frame: TokenFrame = TokenFrame(SIMPLETIR_FRAME)

    def token_ids(self, observation: Observation | None, encode: Callable[[str], list[int]]) -> tuple[list[int], bool]:
        """The tokens to append, none without an observation; also say whether any were cut."""
        if observation is None:
            return [], False
        ids, cut = fit_observation(encode(observation.text), self.max_tokens)
        return [*self.frame.head_ids, *ids, *self.frame.tail_ids], cut


def chat_frame(
    tokenizer: Any, tools: Sequence[Mapping[str, Any]], chat_template_kwargs: Mapping[str, Any] | None = None
) -> Frame:
    """How the tokenizer's own chat template continues from a tool call, through the tool's message, to the next turn.

    Read from the rendering of a conversation, whatever the template: from the end of the assistant's text, whose
    message is not closed yet, to the generation prompt. The arguments are the turn rule's tools and verl's
    `data.apply_chat_template_kwargs`.

    Raises:
        FrameError: the template refuses a tool message, or does not show its content as it is.
    """
    import jinja2  # transformers renders templates with it, and needs it for nothing else

    fix = "take a model whose chat template knows tools, or a tir.rollout.turn_rule that continues the message"
    messages = [
        {"role": "user", "content": _USER},
        {"role": "assistant", "content": _CALL},
        {"role": "tool", "content": _OBSERVATION},
    ]
    try:
        text = tokenizer.apply_chat_template(
            messages, tools=list(tools), tokenize=False, add_generation_prompt=True, **(chat_template_kwargs or {})
        )
    except jinja2.TemplateError as error:
        raise FrameError(f"the tokenizer's chat template refuses a tool's message ({error}): {fix}") from error
    pieces = re.split(f"{_CALL}|{_OBSERVATION}", text)
    if len(pieces) != 3 or text.find(_CALL) > text.find(_OBSERVATION):
        raise FrameError(f"the tokenizer's chat template does not show a tool's message as it is: {fix}")
    return Frame(before=pieces[1], after=pieces[2])


def tokenize_frame(frame: Frame, tokenizer: Any) -> TokenFrame:
    """Split `frame` at the tokenizer's added tokens, which separate what is tokenised on either side of them."""
    added = "|".join(re.escape(token) for token in sorted(tokenizer.get_added_vocab(), key=len, reverse=True))
    spans = [
        [match.span() for match in re.finditer(added, text)] if added else [] for text in (frame.before, frame.after)
    ]
    inner_start = spans[0][-1][1] if spans[0] else 0
    inner_end = spans[1][0][0] if spans[1] else len(frame.after)
    return TokenFrame(
        text=Frame(frame.before[inner_start:], frame.after[:inner_end]),
        head_ids=tuple(tokenizer.encode(frame.before[:inner_start], add_special_tokens=False)),
        tail_ids=tuple(tokenizer.encode(frame.after[inner_end:], add_special_tokens=False)),
    )
