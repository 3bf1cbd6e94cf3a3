"""The adapter between verl's agent loop and the conversation: the only rollout file that imports verl."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import uuid4

from omegaconf import OmegaConf
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput, register

from verl_tir.config import TirConfig, TirConfigError
from verl_tir.metrics.log_probs import UNKNOWN_LOG_PROB
from verl_tir.rollout.generation import Piece
from verl_tir.rollout.loop import Conversation, Tools, converse, response_room
from verl_tir.rollout.observation import (
    ObservationSettings,
    TokenFrame,
    chat_frame,
    resolve_observation_rule,
    tokenize_frame,
)
from verl_tir.rollout.prompt import plain_text, templated_messages
from verl_tir.rollout.sandbox import Sandbox
from verl_tir.rollout.session import open_session
from verl_tir.rollout.tokens import ResponseTokens
from verl_tir.rollout.turn_rule import TurnRule, resolve_turn_rule
from verl_tir.trajectory import StopReason, Trajectory

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Versions:
    """The span of model versions that a trajectory was sampled from; verl's staleness control reads it."""

    first: int | None = None
    last: int | None = None

    def update(self, fields: Mapping[str, Any]) -> None:
        self.first = fields.get("min_global_steps") if self.first is None else self.first
        self.last = fields.get("max_global_steps", self.last)


class _Shared:
    """What the trajectories of one process share: verl builds one agent loop per trajectory."""

    def __init__(self, trainer_config: Any, tokenizer: Any, chat_template_kwargs: Mapping[str, Any]) -> None:
        self.config = TirConfig.from_node(OmegaConf.to_container(trainer_config.tir, resolve=True))
        self.rule: TurnRule = resolve_turn_rule(self.config.rollout.turn_rule)
        self.tools = list(self.rule.tools)
        frame = self.rule.frame or chat_frame(tokenizer, self.tools, chat_template_kwargs)
        self.observation = ObservationSettings(
            resolve_observation_rule(self.config.observation.rule),
            self.config.observation.max_chars,
            self.config.observation.max_tokens,
            tokenize_frame(frame, tokenizer),
        )
        _check_frame_fits(self.observation.frame, self.config.observation.max_tokens, tokenizer)
        self._sandbox: asyncio.Task[Sandbox] | None = None

    async def sandbox(self) -> Sandbox:
        if self._sandbox is None:
            self._sandbox = asyncio.create_task(Sandbox.start(self.config.sandbox))
        return await asyncio.shield(self._sandbox)


def _check_frame_fits(frame: TokenFrame, max_tokens: int, tokenizer: Any) -> None:
    """Raise TirConfigError where cutting an observation would cut what the turn rule puts around it."""
    before, after = (tokenizer.encode(text, add_special_tokens=False) for text in (frame.text.before, frame.text.after))
    least = 2 * max(len(before), len(after)) + 2
    if max_tokens < least:
        raise TirConfigError(
            f"tir.observation.max_tokens={max_tokens}: no room for an observation between the {len(before)} tokens "
            f"before and the {len(after)} after it; give it at least {least}"
        )


@register("tir")
class TirAgentLoop(AgentLoopBase):
    """Multi-turn tool-integrated reasoning: every trajectory runs on its own and waits for no other."""

    _shared: ClassVar[_Shared | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if TirAgentLoop._shared is None:
            TirAgentLoop._shared = _Shared(self.config, self.tokenizer, self.apply_chat_template_kwargs)
        self.shared = TirAgentLoop._shared
        self.tir = self.shared.config

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **row: Any) -> AgentLoopOutput:
        """Roll out one trajectory of a data set's row, whose `raw_prompt` holds the chat messages. verl's sampling
        parameters are kept, and the stop strings added."""
        prompt_ids = self._prompt_ids(row["raw_prompt"])
        versions = _Versions()
        if len(prompt_ids) > self.rollout_config.prompt_length:
            logger.warning(
                "a prompt of %d tokens, template included, exceeds data.max_prompt_length=%d: the trajectory is left "
                "out of training; raise data.max_prompt_length",
                len(prompt_ids),
                self.rollout_config.prompt_length,
            )
            conversation = Conversation(ResponseTokens(), Trajectory((), StopReason.PROMPT_TOO_LONG))
        else:
            conversation = await self._converse(prompt_ids, sampling_params, int(priority), versions)
        return await self._output(prompt_ids, conversation, versions, row)

    def _prompt_ids(self, raw_prompt: Any) -> list[int]:
        messages = templated_messages(list(raw_prompt), self.tir.prompt.text)
        if self.tir.prompt.chat_template:
            return self.continuous_token_builder.build_initial_tokens(messages, tools=self.shared.tools or None)
        return self.tokenizer.encode(plain_text(messages))

    async def _converse(
        self, prompt_ids: list[int], sampling_params: dict[str, Any], priority: int, versions: _Versions
    ) -> Conversation:
        sandbox = await self.shared.sandbox()
        # One id for all turns keeps them on the server that has the prefix cached.
        request_id = uuid4().hex
        want_log_probs = bool(sampling_params.get("logprobs"))

        async def generate(response_ids: list[int], max_tokens: int) -> Piece:
            output = await self.server_manager.generate(
                request_id=request_id,
                prompt_ids=[*prompt_ids, *response_ids],
                sampling_params={
                    **sampling_params,
                    "stop": list(self.shared.rule.stop_strings),
                    "include_stop_str_in_output": True,
                    # The engine reads the text as the turn rule does.
                    "skip_special_tokens": False,
                    "max_tokens": max_tokens,
                },
                priority=priority,
            )
            versions.update(output.extra_fields)
            ids = list(output.token_ids)
            log_probs = list(output.log_probs or []) if want_log_probs else [UNKNOWN_LOG_PROB] * len(ids)
            return Piece(ids=ids, log_probs=log_probs, aborted=output.stop_reason == "aborted")

        return await converse(
            Tools(
                generate=generate,
                run_program=open_session(self.tir.sandbox.session, sandbox.run, sandbox.run_cells),
                # A program that prints "<|im_end|>" must not end the message: special tokens are spelled out as text.
                encode=lambda text: self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True),
                decode=self._decode,
                end_ids=frozenset(self.tokenizer.all_special_ids),
            ),
            self.tir.limits(
                response_room(
                    len(prompt_ids), self.rollout_config.response_length, self.rollout_config.get("max_model_len")
                )
            ),
            self.shared.observation,
            self.shared.rule,
        )

    async def _output(
        self, prompt_ids: list[int], conversation: Conversation, versions: _Versions, row: Mapping[str, Any]
    ) -> AgentLoopOutput:
        tokens, trajectory = conversation.tokens, conversation.trajectory
        if not len(tokens):
            # verl cannot store an empty response; one token with mask 0 trains nothing.
            tokens.append_observation([self.tokenizer.eos_token_id])
        sandbox = await self.shared.sandbox()
        extra_fields: dict[str, Any] = {
            "tir": {**trajectory.to_record(), "sandbox": sandbox.snapshot()},
            "min_global_steps": versions.first,
            "max_global_steps": versions.last,
            # verl's own loops carry these two, and its batch code expects the same keys in every row.
            "turn_scores": [],
            "tool_rewards": [],
        }
        if self.tir.dump_dir is not None:
            texts = conversation.texts(self._decode, self.tir.dump_token_log_probs)
            extra_fields["tir"] |= {
                "ground_truth": (row.get("reward_model") or {}).get("ground_truth"),
                "data_source": row.get("data_source"),
                "index": row.get("index"),
                "prompt": self.tokenizer.decode(prompt_ids),
                "texts": [said.to_record() for said in texts],
            }
        if trajectory.aborted:
            extra_fields["reward_extra_info"] = {}
        return AgentLoopOutput(
            prompt_ids=prompt_ids,
            response_ids=tokens.ids,
            response_mask=tokens.mask,
            response_logprobs=tokens.log_probs if self.rollout_config.calculate_log_probs else None,
            # An aborted trajectory leaves the batch, so no reward is worth computing for it.
            reward_score=0.0 if trajectory.aborted else None,
            # verl counts messages: the prompt, each turn of the model and each answer of the tool.
            num_turns=1 + sum(1 + (turn.outcome is not None) for turn in trajectory.turns),
            metrics={
                "generate_sequences": sum(turn.generate_seconds for turn in trajectory.turns),
                "tool_calls": sum(turn.tool_seconds for turn in trajectory.turns),
            },
            extra_fields=extra_fields,
        )

    def _decode(self, ids: Sequence[int]) -> str:
        # transformers' own decode looks at every id in Python first, which takes longer than the decoding.
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            return backend.decode(ids, skip_special_tokens=False)
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
