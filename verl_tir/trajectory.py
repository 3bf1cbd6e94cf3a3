"""The record that every stage shares: what one trajectory did, turn by turn, and why it stopped.

A bad rollout is data, not a crash: whatever happens to a trajectory ends as one `StopReason`, and the sampler,
the reward and the metrics read it from here. This module imports nothing of ours, so that all others may import it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class TurnEnd(StrEnum):
    """Why the generation of one turn ended."""

    CODE = "code"
    """The first complete code block closed."""
    CALL = "call"
    """The model asked for an output, with no code that can be run."""
    EOS = "eos"
    """The model ended its message."""
    LENGTH = "length"
    """The turn's token limit, or what was left of the response budget, was used up."""
    ABORTED = "aborted"
    """The inference engine gave the request up."""


class Outcome(StrEnum):
    """What became of a turn's program."""

    SUCCESS = "success"
    FAILED = "failed"
    """The program raised or exited non-zero: an observation for the model."""
    TIME_LIMIT = "time_limit"
    """The program ran out of its time: an observation for the model."""
    MEMORY_LIMIT = "memory_limit"
    """The program ran out of its memory: an observation for the model."""
    FAULT = "fault"
    """The sandbox failed, not the program: never an observation."""


FAILED_OUTCOMES = frozenset({Outcome.FAILED, Outcome.TIME_LIMIT, Outcome.MEMORY_LIMIT})
"""Programs that ran and did not end well, by their own fault."""


class StopReason(StrEnum):
    """Why a trajectory stopped; a closed set. `rollout.loop.stop_after` has the order in which they are checked."""

    ANSWER = "answer"
    """`\\boxed{` in the model's text or, where the turn rule counts it, in its program's output."""
    VOID = "void"
    """The last turn had neither a complete code block nor an answer (SimpleTIR, section 3.3)."""
    MAX_TURNS = "max_turns"
    """The last allowed turn ended, its code was run, and the trajectory had no answer."""
    CALL_BUDGET = "call_budget"
    """The model began a tool call after its last allowed one."""
    RESPONSE_BUDGET = "response_budget"
    """No room was left for the observation and one more token."""
    TOOL_TIME = "tool_time"
    """The trajectory's programs used up `tir.rollout.max_tool_seconds`."""
    SANDBOX_FAULT = "sandbox_fault"
    """The sandbox failed after all retries; nothing about the model can be concluded."""
    ENGINE_ABORT = "engine_abort"
    """The inference engine aborted the request; nothing about the model can be concluded."""
    PROMPT_TOO_LONG = "prompt_too_long"
    """The templated prompt does not fit into `data.max_prompt_length`, so nothing was generated."""


ABORTED_REASONS = frozenset({StopReason.SANDBOX_FAULT, StopReason.ENGINE_ABORT, StopReason.PROMPT_TOO_LONG})
"""Stops that say nothing about the model: such a trajectory is left out of the loss and of its group's baseline."""


# The driver reads tens of thousands of turns in a step; a look-up takes a fifth of an enum's call.
_TURN_ENDS = {str(end): end for end in TurnEnd}
_OUTCOMES: dict[str | None, Outcome | None] = {None: None} | {str(outcome): outcome for outcome in Outcome}


class AnswerSource(StrEnum):
    """Who wrote the final answer."""

    MODEL = "model"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class SandboxCall:
    """Where the time of a sandbox call that brought a result went, in seconds."""

    wait: float
    """In the client: for its turn, and for an endpoint that works."""
    connect: float
    queue: float
    """In the service, beyond the run, and on the way."""
    run: float
    """Of the program, as the service reports."""
    attempts: int
    """Requests that the call took."""


@dataclass(frozen=True, slots=True)
class LogProbs:
    """The log-probabilities of a turn's kept sampled tokens, reduced so that they travel with the trajectory."""

    count: int
    """Tokens with a log-probability; at least 1."""
    total: float
    """Sum of the log-probabilities, in nats; at most 0."""
    minimum: float
    histogram: str
    """How many tokens lie in each bin that holds any, as `metrics.log_probs` packs and reads them."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One generation and, where it held code, the run of that code."""

    end: TurnEnd
    model_tokens: int
    """Tokens sampled and kept; they carry mask 1."""
    observation_tokens: int
    """Tokens of the tool's output appended after them; they carry mask 0."""
    discarded_tokens: int
    """Tokens sampled after the code block closed; they reach neither the context nor the loss."""
    has_code: bool
    has_answer: bool
    """The trajectory ends here with an answer; which `\\boxed{` is one, the turn rule says."""
    outcome: Outcome | None
    """None where no program was run."""
    observation_truncated: bool
    generate_seconds: float
    tool_seconds: float
    """Wall time of the sandbox call as the rollout saw it: queue, network, retries and run."""
    call: SandboxCall | None = None
    """Its parts; None where no program was run, or where the call ended in a fault."""
    log_probs: LogProbs | None = None
    """Of the tokens kept; None where there is none, or where the engine was not asked for them."""

    @property
    def void(self) -> bool:
        return not self.has_code and not self.has_answer


@dataclass(frozen=True, slots=True)
class SampledTokens:
    """The tokens of a model's text."""

    lengths: tuple[int, ...]
    """Characters of the text that each token adds; 0 for one that begins a character and does not end it."""
    log_probs: tuple[float | None, ...]
    """In nats, to hundredths, one per token; None where the engine was not asked for it."""


@dataclass(frozen=True, slots=True)
class TurnText:
    """What a turn says, beside its numbers. It is made only where trajectories are dumped."""

    text: str
    """The model's, as it entered the context."""
    program: str | None
    """What was run for it: the program that the turn rule made of its code. A session runs it after the earlier ones.
    None where nothing was run."""
    observation: str
    """What the model was shown of the run, with what the turn rule puts around it; empty where there was none."""
    tokens: SampledTokens | None = None
    """Of the model's text; None where they are not kept (`tir.dump_token_log_probs`)."""
    program_from_text: bool = False
    """The program was looked for in the text, as in dumps that did not record it yet."""

    def to_record(self) -> dict[str, Any]:
        """Plain data, without what is not there."""
        record: dict[str, Any] = {"text": self.text, "program": self.program, "observation": self.observation}
        if self.tokens is not None:
            record["tokens"] = {"lengths": list(self.tokens.lengths), "log_probs": list(self.tokens.log_probs)}
        if self.program_from_text:
            record["program_from_text"] = True
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> TurnText:
        """Inverse of `to_record`; other keys are passed over. Raises KeyError or TypeError for any other record."""
        tokens = record.get("tokens")
        sampled = None if tokens is None else SampledTokens(tuple(tokens["lengths"]), tuple(tokens["log_probs"]))
        return cls(
            record["text"], record["program"], record["observation"], sampled, record.get("program_from_text", False)
        )


@dataclass(frozen=True, slots=True)
class Trajectory:
    """What the agent loop says of one finished trajectory; token ids and masks travel beside it."""

    turns: tuple[Turn, ...]
    stop_reason: StopReason
    answer: str | None = None
    """The raw text inside the last `\\boxed{}`; the tool's is read from its output before truncation."""
    answer_source: AnswerSource | None = None
    fault: str | None = None
    """What the sandbox fault was, for the log."""

    @property
    def void(self) -> bool:
        """Whether a turn was void, wherever it stands and whatever came after it."""
        return not self.aborted and any(turn.void for turn in self.turns)

    @property
    def void_from(self) -> int | None:
        """Response tokens (model and observation) before the first void turn; None where the trajectory is not void."""
        if not self.void:
            return None
        before = itertools.takewhile(lambda turn: not turn.void, self.turns)
        return sum(turn.model_tokens + turn.observation_tokens for turn in before)

    @property
    def ends_in_observation(self) -> bool:
        """Whether the response's last token is the tool's, and so has mask 0."""
        written = [turn for turn in self.turns if turn.model_tokens or turn.observation_tokens]
        return bool(written) and written[-1].observation_tokens > 0

    @property
    def aborted(self) -> bool:
        return self.stop_reason in ABORTED_REASONS

    def to_record(self) -> dict[str, Any]:
        """Plain data for verl's `extra_fields`, which cross process and storage borders."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Trajectory:
        """Inverse of `to_record` of this version. Raises KeyError, TypeError or ValueError for any other record."""
        turns = tuple(
            Turn(
                **{
                    **turn,
                    "end": _TURN_ENDS[turn["end"]],
                    "outcome": _OUTCOMES[turn["outcome"]],
                    "call": None if turn["call"] is None else SandboxCall(**turn["call"]),
                    "log_probs": None if turn["log_probs"] is None else LogProbs(**turn["log_probs"]),
                }
            )
            for turn in record["turns"]
        )
        source = record["answer_source"]
        return cls(
            turns=turns,
            stop_reason=StopReason(record["stop_reason"]),
            answer=record["answer"],
            answer_source=None if source is None else AnswerSource(source),
            fault=record["fault"],
        )
