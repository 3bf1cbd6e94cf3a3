"""One trajectory from its prompt to its stop reason: the loop itself, free of verl, so that it can be tested alone."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from math_answers import last_boxed
from sandbox_client import SandboxFault
from verl_tir.metrics.log_probs import reduce_log_probs
from verl_tir.rollout.frame import TokenFrame
from verl_tir.rollout.generation import Generate, GeneratedTurn, Piece, generate_turn
from verl_tir.rollout.observation import SIMPLETIR_FRAME, Observation, ObservationRule, ProgramRun, observe
from verl_tir.rollout.segment import SampledTokens, Segment
from verl_tir.rollout.tokens import Decode, ResponseTokens, fit_observation
from verl_tir.rollout.turn import BOXED, Limits, stop_after
from verl_tir.rollout.turn_rule import TurnRule
from verl_tir.rollout.turn_rules import simpletir
from verl_tir.trajectory import AnswerSource, Outcome, SandboxCall, StopReason, Trajectory, Turn, TurnEnd

RunProgram = Callable[[str], Awaitable[ProgramRun]]
"""Runs a program; raises `SandboxFault` when the service, not the program, failed."""


_SIMPLETIR_TOKENS = TokenFrame(SIMPLETIR_FRAME)


@dataclass(frozen=True, slots=True)
class ObservationSettings:
    rule: ObservationRule
    max_chars: int
    max_tokens: int
    """Of an observation with the innermost part of its frame."""
    frame: TokenFrame = _SIMPLETIR_TOKENS


@dataclass(frozen=True, slots=True)
class Tools:
    """What a conversation needs from outside."""

    generate: Callable[[list[int], int], Awaitable[Piece]]
    """`generate(response_ids_so_far, max_tokens)` samples on from the prompt and those ids."""
    run_program: RunProgram
    encode: Callable[[str], list[int]]
    """Tokenises an observation; special tokens in it are spelled out."""
    decode: Decode
    """Keeps special tokens and white space as they are."""
    end_ids: Collection[int]
    """Token ids that end a message."""


@dataclass(slots=True)
class Conversation:
    """A finished conversation."""

    tokens: ResponseTokens
    trajectory: Trajectory

    def segments(self, decode: Decode, with_tokens: bool = False) -> list[Segment]:
        """The response turn by turn, decoded only where somebody reads it; on request with the model's tokens."""
        found: list[Segment] = []
        position = 0
        for turn in self.trajectory.turns:
            for role, length in (("model", turn.model_tokens), ("tool", turn.observation_tokens)):
                here = slice(position, position + length)
                position += length
                if role == "tool" and not length:
                    continue
                ids = self.tokens.ids[here]
                text = decode(ids)
                wanted = with_tokens and role == "model"
                tokens = SampledTokens.of(ids, self.tokens.log_probs[here], text, decode) if wanted else None
                found.append(Segment(role, text, tokens))
        return found


@dataclass(slots=True)
class _Execution:
    """What running a turn's code gave; all None where nothing ran."""

    outcome: Outcome | None = None
    observation: Observation | None = None
    stdout: str = ""
    seconds: float = 0.0
    fault: str | None = None
    call: SandboxCall | None = None


@dataclass(slots=True)
class _Answer:
    """The last box so far. Where a box ends the trajectory, there is none before the last turn."""

    begun: bool = False
    """Whether there was a box, complete or not."""
    text: str | None = None
    source: AnswerSource | None = None

    def update(self, text: str, source: AnswerSource) -> None:
        # Another spelling of a box ends nothing, so it must not outlive its turn as the answer.
        if BOXED not in text:
            return
        self.begun = True
        found = last_boxed(text)
        if found is not None:
            self.text, self.source = found, source


@dataclass(slots=True)
class _State:
    tokens: ResponseTokens = field(default_factory=ResponseTokens)
    turns: list[Turn] = field(default_factory=list)
    answer: _Answer = field(default_factory=_Answer)
    tool_calls: int = 0
    tool_seconds: float = 0.0

    def finish(self, reason: StopReason, fault: str | None = None) -> Conversation:
        trajectory = Trajectory(tuple(self.turns), reason, self.answer.text, self.answer.source, fault)
        return Conversation(self.tokens, trajectory)


async def converse(
    tools: Tools, limits: Limits, settings: ObservationSettings, rule: TurnRule = simpletir.RULE
) -> Conversation:
    """Run one trajectory under a turn rule; the order of decisions is that of `rollout.turn`."""
    state = _State()
    while True:
        started = time.perf_counter()
        room = limits.max_response_tokens - len(state.tokens)
        turn = await generate_turn(
            _continuing(tools.generate, state.tokens),
            max_tokens=min(limits.max_turn_tokens, room),
            decode=tools.decode,
            end_ids=tools.end_ids,
            rule=rule,
        )
        generate_seconds = time.perf_counter() - started
        state.tokens.append_model(turn.ids, turn.log_probs)
        state.answer.update(turn.parsed.text, AnswerSource.MODEL)

        no_calls_left = limits.max_tool_calls is not None and state.tool_calls >= limits.max_tool_calls
        run = _Execution() if no_calls_left else await _execute(turn, rule, tools.run_program, settings)
        state.tool_calls += run.outcome is not None
        state.tool_seconds += run.seconds
        if rule.tool_may_answer:
            state.answer.update(run.stdout, AnswerSource.TOOL)

        observation_ids, cut = _observation_ids(run.observation, tools.encode, settings)
        fits = len(observation_ids) <= limits.max_response_tokens - len(state.tokens)
        if not fits:
            observation_ids = []
        state.tokens.append_observation(observation_ids)

        state.turns.append(
            Turn(
                end=turn.end,
                model_tokens=len(turn.ids),
                observation_tokens=len(observation_ids),
                discarded_tokens=turn.discarded,
                has_code=turn.parsed.block is not None,
                has_answer=state.answer.begun and (rule.answer_ends or run.outcome is None),
                outcome=run.outcome,
                observation_truncated=cut or (run.observation is not None and run.observation.truncated),
                generate_seconds=generate_seconds,
                tool_seconds=run.seconds,
                call=run.call,
                log_probs=reduce_log_probs(turn.log_probs),
            )
        )
        if run.outcome is Outcome.FAULT:
            return state.finish(StopReason.SANDBOX_FAULT, run.fault)
        reason = stop_after(
            state.turns[-1],
            turns_done=len(state.turns),
            room=limits.max_response_tokens - len(state.tokens),
            tool_seconds=state.tool_seconds,
            observation_fits=fits,
            limits=limits,
            call_refused=no_calls_left and turn.parsed.closed,
        )
        if reason is not None:
            return state.finish(reason)


def _continuing(generate: Callable[[list[int], int], Awaitable[Piece]], tokens: ResponseTokens) -> Generate:
    """Let a turn's sampling go on from the whole response so far."""

    async def from_here(turn_ids: list[int], max_tokens: int) -> Piece:
        return await generate([*tokens.ids, *turn_ids], max_tokens)

    return from_here


async def _execute(
    turn: GeneratedTurn, rule: TurnRule, run_program: RunProgram, settings: ObservationSettings
) -> _Execution:
    """Run the turn's code, if it has any. The one place where a sandbox fault is caught: it becomes a record."""
    # An aborted turn is thrown away, so its code is not run even where it is complete.
    if turn.parsed.block is None or turn.end is TurnEnd.ABORTED:
        return _Execution()
    started = time.perf_counter()
    try:
        run = await run_program(rule.program(turn.parsed.block.code))
    except SandboxFault as fault:
        seconds = time.perf_counter() - started
        return _Execution(outcome=Outcome.FAULT, seconds=seconds, fault=f"{type(fault).__name__}: {fault}")
    seconds = time.perf_counter() - started
    observation = observe(run, settings.rule, settings.max_chars, settings.frame.text)
    return _Execution(run.outcome, observation, run.stdout, seconds, call=run.call)


def _observation_ids(
    observation: Observation | None, encode: Callable[[str], list[int]], settings: ObservationSettings
) -> tuple[list[int], bool]:
    """The tokens to append, none without an observation; also say whether any were cut."""
    if observation is None:
        return [], False
    ids, cut = fit_observation(encode(observation.text), settings.max_tokens)
    return [*settings.frame.head_ids, *ids, *settings.frame.tail_ids], cut
