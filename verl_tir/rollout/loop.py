"""One trajectory from its prompt to its stop reason, free of verl, so that it can be tested alone.

When a trajectory stops and why is decided in this file: `converse` takes the steps of a turn in their order, and
`stop_after` checks the reasons in theirs. Where a turn ends, what is a call in it and which box is an answer is the
turn rule's (`rollout.turn_rule`); the order is the same under every rule.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum

from math_answers import last_boxed
from sandbox_client import SandboxFault
from verl_tir.metrics.log_probs import reduce_log_probs
from verl_tir.rollout.generation import Generate, generate_turn
from verl_tir.rollout.observation import Observation, ObservationSettings, observe
from verl_tir.rollout.session import RunProgram
from verl_tir.rollout.tokens import Decode, ResponseTokens, sampled_tokens
from verl_tir.rollout.turn_rule import BOXED, TurnRule
from verl_tir.rollout.turn_rules import simpletir
from verl_tir.trajectory import AnswerSource, Outcome, SandboxCall, StopReason, Trajectory, Turn, TurnEnd, TurnText


class OnVoidTurn(StrEnum):
    """What follows a void turn."""

    STOP = "stop"
    """The trajectory ends (SimpleTIR, section 3.3)."""
    CONTINUE = "continue"
    """The model continues from the same tokens, also after its end of message: naive multi-turn."""


@dataclass(frozen=True, slots=True)
class TrajectoryLimits:
    """The budgets of one trajectory: those that `rollout.config.RolloutConfig` describes, and the response's."""

    max_turns: int | None
    max_turn_tokens: int
    max_response_tokens: int
    """Sampled and observation tokens of the whole response."""
    max_tool_seconds: float | None
    max_tool_calls: int | None = None
    on_void_turn: OnVoidTurn = OnVoidTurn.STOP


def response_room(prompt_tokens: int, max_response_tokens: int, max_model_len: int | None) -> int:
    """Tokens that fit after the templated prompt within verl's `rollout.response_length` and `rollout.max_model_len`
    (prompt and response; None for no bound): the engine would cut at its context length without saying so."""
    if max_model_len is None:
        return max_response_tokens
    return max(1, min(max_response_tokens, max_model_len - prompt_tokens))


@dataclass(frozen=True, slots=True)
class Tools:
    """What a conversation needs from outside."""

    generate: Generate
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
    programs: tuple[str | None, ...] = ()
    """What was given to the sandbox, turn by turn."""

    def texts(self, decode: Decode, with_tokens: bool = False) -> list[TurnText]:
        """What each turn says, decoded only where somebody reads it; on request with the model's tokens."""
        found: list[TurnText] = []
        start = 0
        for turn, program in zip(self.trajectory.turns, self.programs, strict=True):
            middle, end = start + turn.model_tokens, start + turn.model_tokens + turn.observation_tokens
            ids = self.tokens.ids[start:middle]
            text = decode(ids)
            tokens = sampled_tokens(ids, self.tokens.log_probs[start:middle], text, decode) if with_tokens else None
            observation = decode(self.tokens.ids[middle:end]) if end > middle else ""
            found.append(TurnText(text, program, observation, tokens))
            start = end
        return found


@dataclass(slots=True)
class _Execution:
    """What running a turn's code gave; all None where nothing ran."""

    outcome: Outcome | None = None
    program: str | None = None
    observation: Observation | None = None
    stdout: str = ""
    seconds: float = 0.0
    fault: str | None = None
    call: SandboxCall | None = None


@dataclass(slots=True)
class _State:
    tokens: ResponseTokens = field(default_factory=ResponseTokens)
    turns: list[Turn] = field(default_factory=list)
    programs: list[str | None] = field(default_factory=list)
    tool_calls: int = 0
    tool_seconds: float = 0.0
    box_begun: bool = False
    """Whether there was a box, complete or not."""
    answer: str | None = None
    """The last box so far. Where a box ends the trajectory, there is none before the last turn."""
    answer_source: AnswerSource | None = None

    def read_answer(self, text: str, source: AnswerSource) -> None:
        # Another spelling of a box ends nothing, so it must not outlive its turn as the answer.
        if BOXED in text:
            self.box_begun = True
            found = last_boxed(text)
            if found is not None:
                self.answer, self.answer_source = found, source


async def converse(
    tools: Tools, limits: TrajectoryLimits, settings: ObservationSettings, rule: TurnRule = simpletir.RULE
) -> Conversation:
    """Run one trajectory under a turn rule."""
    state = _State()
    while True:
        # 1. The model writes up to its call, the end of its message or a token limit. A box in it is the answer so far.
        started = time.perf_counter()
        room = limits.max_response_tokens - len(state.tokens)
        turn = await generate_turn(
            lambda turn_ids, max_tokens: tools.generate([*state.tokens.ids, *turn_ids], max_tokens),
            max_tokens=min(limits.max_turn_tokens, room),
            decode=tools.decode,
            end_ids=tools.end_ids,
            rule=rule,
        )
        generate_seconds = time.perf_counter() - started
        state.tokens.append_model(turn.ids, turn.log_probs)
        state.read_answer(turn.parsed.text, AnswerSource.MODEL)

        # 2. Its code runs while calls are left, also beside a box and on the last turn. An aborted turn is thrown away,
        #    so its code does not run even where it is complete.
        no_calls_left = limits.max_tool_calls is not None and state.tool_calls >= limits.max_tool_calls
        run = _Execution()
        if turn.parsed.block is not None and turn.end is not TurnEnd.ABORTED and not no_calls_left:
            run = await _execute(rule.program(turn.parsed.block.code), tools.run_program, settings)
        state.programs.append(run.program)
        state.tool_calls += run.outcome is not None
        state.tool_seconds += run.seconds
        if rule.tool_may_answer:
            state.read_answer(run.stdout, AnswerSource.TOOL)

        # 3. The observation is appended if it fits into the response budget.
        observation_ids, cut = settings.token_ids(run.observation, tools.encode)
        fits = len(observation_ids) <= limits.max_response_tokens - len(state.tokens)
        if not fits:
            observation_ids = []
        state.tokens.append_observation(observation_ids)

        # 4. The turn is recorded. It answers with any box so far; where a box ends nothing, once it runs no code.
        state.turns.append(
            Turn(
                end=turn.end,
                model_tokens=len(turn.ids),
                observation_tokens=len(observation_ids),
                discarded_tokens=turn.discarded,
                has_code=turn.parsed.block is not None,
                has_answer=state.box_begun and (rule.answer_ends or run.outcome is None),
                outcome=run.outcome,
                observation_truncated=cut or (run.observation is not None and run.observation.truncated),
                generate_seconds=generate_seconds,
                tool_seconds=run.seconds,
                call=run.call,
                log_probs=reduce_log_probs(turn.log_probs),
            )
        )

        # 5. The first reason that holds stops the trajectory. Without one the next turn continues from the very ids
        #    that there are, also after a void turn.
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
            trajectory = Trajectory(tuple(state.turns), reason, state.answer, state.answer_source, run.fault)
            return Conversation(state.tokens, trajectory, tuple(state.programs))


def stop_after(
    turn: Turn,
    *,
    turns_done: int,
    room: int,
    tool_seconds: float,
    observation_fits: bool,
    limits: TrajectoryLimits,
    call_refused: bool = False,
) -> StopReason | None:
    """Why the trajectory stops after this turn; None where the next turn begins.

    Answers come before limits, so that a trajectory that finished is never called truncated; a turn whose program
    failed is not void, because the model acted. `turns_done` includes this turn; `room` is the tokens left of the
    response budget after it and its observation; `tool_seconds` is the wall time of all programs so far.
    """
    # 1. The engine gave the request up.
    if turn.end is TurnEnd.ABORTED:
        return StopReason.ENGINE_ABORT
    # 2. The sandbox failed.
    if turn.outcome is Outcome.FAULT:
        return StopReason.SANDBOX_FAULT
    # 3. It answers.
    if turn.has_answer:
        return StopReason.ANSWER
    # 4. It began a call after the last allowed one.
    if call_refused:
        return StopReason.CALL_BUDGET
    # 5. It is void, also where a token limit cut it. Where nothing was sampled, nothing would differ the next time.
    if turn.void and (limits.on_void_turn is OnVoidTurn.STOP or not turn.model_tokens):
        return StopReason.VOID
    # 6. The observation did not fit, or no token is left.
    if not observation_fits or room < 1:
        return StopReason.RESPONSE_BUDGET
    # 7. It was the last turn.
    if limits.max_turns is not None and turns_done >= limits.max_turns:
        return StopReason.MAX_TURNS
    # 8. The programs so far took their time.
    if limits.max_tool_seconds is not None and tool_seconds >= limits.max_tool_seconds:
        return StopReason.TOOL_TIME
    return None


async def _execute(program: str, run_program: RunProgram, settings: ObservationSettings) -> _Execution:
    """Run a program. The one place where a sandbox fault is caught: it becomes a record."""
    started = time.perf_counter()
    try:
        run = await run_program(program)
    except SandboxFault as fault:
        seconds = time.perf_counter() - started
        return _Execution(Outcome.FAULT, program, seconds=seconds, fault=f"{type(fault).__name__}: {fault}")
    seconds = time.perf_counter() - started
    observation = observe(run, settings.rule, settings.max_chars, settings.frame.text)
    return _Execution(run.outcome, program, observation, run.stdout, seconds, call=run.call)
