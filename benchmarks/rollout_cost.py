"""CPU time of the rollout loop beside generation and tools, as a ratio to verl's own ToolAgentLoop.

    python benchmarks/rollout_cost.py                        # 10 turns, 1k to 32k tokens
    python benchmarks/rollout_cost.py --turns 5 --profile 16384

Both loops run whole, as verl runs them, in one process and taking turns: the same number of turns and of tokens, the
same prose and program in each turn, log-probabilities included. The engine returns prepared ids at once and the tool
answers at once, so what is left is what the loop costs. Ours runs under SimpleTIR's rule, and under the Hermes rule on
the very trajectory that verl's loop gets. Printed is the median of the rounds in CPU time of all the process's threads
(verl's loop tokenises in threads); the first round warms up and does not count. `--profile` says where the time of a
trajectory of that many tokens goes.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import inspect
import json
import logging
import pstats
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput, DictConfigWrap, ToolListWrap
from verl.experimental.agent_loop.tool_agent_loop import ToolAgentLoop
from verl.tools.function_tool import FunctionTool
from verl.tools.schemas import OpenAIFunctionToolSchema
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

from tir_tools.demo.tokenizer import CHAT_TEMPLATE, MESSAGE_END, train_tokenizer
from verl_tir.rollout.agent_loop import TirAgentLoop
from verl_tir.rollout.observation import ProgramRun
from verl_tir.rollout.turn_rules.hermes import CODE_INTERPRETER
from verl_tir.trajectory import Outcome

LENGTHS = (1024, 2048, 4096, 8192, 16384, 32768)
PROGRAM = "import math\nprint(sum(map(math.sqrt, range(6))))"
OUTPUT = "8.38233\n"
QUESTION = [{"role": "user", "content": "What is the sum of the square roots of 0 to 5?"}]
ANSWER = "So the answer is \\boxed{8.382}." + MESSAGE_END
SAMPLING = {"temperature": 1.0, "top_p": 1.0, "logprobs": True}

RunLoop = Callable[[], AgentLoopOutput]


def tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `vocabulary` tokens in Qwen2's way, learnt from Python's own library."""
    small = train_tokenizer(seed=0)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = small.backend_tokenizer.pre_tokenizer
    bpe.decoder = decoders.ByteLevel()
    library = sorted(Path(inspect.getfile(asyncio)).parents[1].glob("*.py"))
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(small.all_special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((path.read_text(encoding="utf-8") for path in library), trainer)
    return type(small)(
        tokenizer_object=bpe,
        eos_token=small.eos_token,
        pad_token=small.pad_token,
        unk_token=None,
        bos_token=None,
        additional_special_tokens=small.all_special_tokens,
        # verl's way with tools wants a template that shows them.
        chat_template="{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}" + CHAT_TEMPLATE,
        model_max_length=1 << 20,
    )


class Engine:
    """Returns the prepared turns one after the other."""

    def __init__(self, turns: list[TokenOutput]) -> None:
        self._turns = turns
        self._next: Iterator[TokenOutput] = iter(())

    def rewind(self) -> None:
        self._next = iter(self._turns)

    async def generate(self, **request: Any) -> TokenOutput:
        return next(self._next)


class Sandbox:
    """Answers every program at once."""

    async def run(self, program: str) -> ProgramRun:
        return ProgramRun(Outcome.SUCCESS, OUTPUT, "", 0)

    def snapshot(self) -> dict[str, Any]:
        return {}


async def answer(code: str) -> str:
    return OUTPUT


@dataclass(frozen=True)
class Peers:
    """Makes trajectories of a given size for both loops."""

    tokenizer: PreTrainedTokenizerFast
    turns: int

    def ours(self, tokens: int, rule: str) -> RunLoop:
        """Our loop on a trajectory of `tokens` response tokens; under `hermes` it is the very trajectory of verl's."""
        program = f"\n```python\n{PROGRAM}\n```\n"
        if rule == "hermes":
            engine = self._hermes_engine(tokens)
        else:
            engine = Engine(self._turns(tokens, program, len(self._encode(f"\nCode execution result: {OUTPUT}\n"))))
        # The loops of a process share their settings and their sandbox.
        TirAgentLoop._shared = None
        loop = self._loop(TirAgentLoop, engine, tokens, rule)
        sandbox = Sandbox()

        async def the_sandbox() -> Sandbox:
            return sandbox

        loop.shared.sandbox = the_sandbox
        return self._runner(loop, engine)

    def verls(self, tokens: int) -> RunLoop:
        """verl's ToolAgentLoop on a trajectory of `tokens` response tokens."""
        engine = self._hermes_engine(tokens)
        schema = OpenAIFunctionToolSchema.model_validate(CODE_INTERPRETER)
        tool = FunctionTool(name=schema.function.name, fn=answer, tool_schema=schema, is_async=True)
        return self._runner(self._loop(ToolAgentLoop, engine, tokens, "hermes", tools=ToolListWrap([tool])), engine)

    def _hermes_engine(self, tokens: int) -> Engine:
        arguments = json.dumps({"name": "code_interpreter", "arguments": {"code": PROGRAM}})
        call = f"\n<tool_call>\n{arguments}\n</tool_call>"
        # What the template puts around a tool's answer counts as response, as in the real thing.
        message = f"{MESSAGE_END}\n<|im_start|>tool\n{OUTPUT}{MESSAGE_END}\n<|im_start|>assistant\n"
        return Engine(self._turns(tokens, call, len(self._encode(message))))

    def _turns(self, tokens: int, call: str, observation: int) -> list[TokenOutput]:
        """The model's turns, filled with prose so that they and the observations are `tokens` together."""
        chance = random.Random(tokens)
        words = ["so", "the", "sum", "value", "is", "then", "we", "check", "if", "x", "=", "3.5", "and", "again", "(n)"]
        ends = [self._encode(call)] * (self.turns - 1) + [self._encode(ANSWER)]
        fill = tokens - sum(map(len, ends)) - observation * (self.turns - 1)
        if fill < self.turns:
            raise SystemExit(f"{tokens} tokens are too few for {self.turns} turns")
        outputs = []
        for turn, end in enumerate(ends):
            size = fill // self.turns + (turn < fill % self.turns)
            prose: list[int] = []
            while len(prose) < size:
                prose += self._encode(" ".join(chance.choices(words, k=12)) + ".\n")
            ids = prose[:size] + end
            log_probs = [-chance.random() for _ in ids]
            outputs.append(TokenOutput(token_ids=ids, log_probs=log_probs, stop_reason="completed"))
        return outputs

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _loop(self, kind: type[AgentLoopBase], engine: Engine, tokens: int, rule: str, **more: Any) -> AgentLoopBase:
        config = {
            "tir": {
                "recipe": "benchmark",
                "rollout": {"turn_rule": rule, "max_turns": self.turns, "max_turn_tokens": tokens},
            },
            "data": {},
            "actor_rollout_ref": {
                "rollout": {
                    "prompt_length": 4096,
                    "response_length": tokens + 1024,
                    "calculate_log_probs": True,
                    "full_determinism": False,
                    "multi_turn": {
                        "max_user_turns": None,
                        "max_assistant_turns": self.turns,
                        "max_parallel_calls": 1,
                        "max_tool_response_length": 4096,
                        "tool_response_truncate_side": "middle",
                        "format": "hermes",
                    },
                }
            },
        }
        node = OmegaConf.create(config)
        # As in verl's workers, which build a loop per trajectory; that is not measured here.
        return EVENTS.run_until_complete(_built(kind, node, engine, self.tokenizer, more))

    def _runner(self, loop: AgentLoopBase, engine: Engine) -> RunLoop:
        def once() -> AgentLoopOutput:
            engine.rewind()
            # Not asyncio.Runner, which spells the whole result out when it puts the signal handler back.
            return EVENTS.run_until_complete(loop.run(dict(SAMPLING), raw_prompt=QUESTION))

        return once


async def _built(
    kind: type[AgentLoopBase], node: Any, engine: Engine, tokenizer: PreTrainedTokenizerFast, more: dict[str, Any]
) -> AgentLoopBase:
    return kind(
        trainer_config=DictConfigWrap(node),
        server_manager=engine,
        tokenizer=tokenizer,
        processor=None,
        dataset_cls=RLHFDataset,
        data_config=DictConfigWrap(node.data),
        hf_model_type="qwen2",
        **more,
    )


def cpu_ms(run: RunLoop) -> float:
    """Milliseconds of CPU that one trajectory takes."""
    started = time.process_time()
    run()
    return (time.process_time() - started) * 1000


def check(output: AgentLoopOutput, turns: int, tokens: int) -> None:
    """The trajectory is the one that was meant, or the comparison is of nothing."""
    assert output.num_turns == 2 * turns, (output.num_turns, turns)
    assert abs(len(output.response_ids) - tokens) <= 2 * turns, (len(output.response_ids), tokens)
    assert len(output.response_ids) == len(output.response_mask) == len(output.response_logprobs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--profile", type=int, metavar="TOKENS")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    peers = Peers(tokenizer(arguments.vocabulary), arguments.turns)
    if arguments.profile:
        print_profile(peers.ours(arguments.profile, "simpletir"), arguments.rounds)
        return
    turns = arguments.turns
    print(f"CPU ms a turn, {turns} turns, median of {arguments.rounds} rounds\n")
    print(f"{'tokens':>8} {'SimpleTIR':>10} {'Hermes':>8} {'verl':>8} {'Hermes/verl':>12} {'SimpleTIR/verl':>15}")
    for tokens in arguments.lengths:
        sides = [peers.ours(tokens, "simpletir"), peers.ours(tokens, "hermes"), peers.verls(tokens)]
        for run in sides:
            check(run(), turns, tokens)
        rounds = [[cpu_ms(run) / turns for run in sides] for _ in range(arguments.rounds)]
        simpletir, hermes, verl = (statistics.median(side) for side in zip(*rounds, strict=True))
        of_hermes = statistics.median(row[1] / row[2] for row in rounds)
        of_simpletir = statistics.median(row[0] / row[2] for row in rounds)
        print(
            f"{tokens:>8} {simpletir:>10.3f} {hermes:>8.3f} {verl:>8.3f} {of_hermes:>12.2f} {of_simpletir:>15.2f}",
            flush=True,
        )


def print_profile(run: RunLoop, rounds: int) -> None:
    """Where `run` spends its time."""
    run()
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(rounds):
        run()
    profile.disable()
    pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    EVENTS = asyncio.new_event_loop()
    asyncio.set_event_loop(EVENTS)
    main()
