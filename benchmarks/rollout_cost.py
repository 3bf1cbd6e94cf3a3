"""CPU time of the rollout loop beside generation and tools, as a ratio to verl's own ToolAgentLoop.

    python benchmarks/rollout_cost.py                        # 10 turns, 1k to 32k tokens
    python benchmarks/rollout_cost.py --turns 5 --profile 16384

Both loops run whole, as verl runs them, in one process and taking turns: the same number of turns and of tokens, the
same prose and program in each turn, log-probabilities included. The engine returns prepared ids at once and the tool
answers at once, so what is left is what the loop costs. Ours is SimpleTIR's rule, verl's its Hermes tool calls. Printed
is the median of the rounds in CPU time of all the process's threads (verl's loop tokenises in threads); the first round
warms up and does not count. `--profile` says where the time of a trajectory of that many tokens goes.
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
from types import SimpleNamespace
from typing import Any

from omegaconf import OmegaConf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils import get_json_schema
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput, DictConfigWrap, ToolListWrap
from verl.experimental.agent_loop.tool_agent_loop import ToolAgentLoop
from verl.tools.function_tool import FunctionTool
from verl.tools.schemas import OpenAIFunctionToolSchema
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

from verl_tir.demo.model import CHAT_TEMPLATE, MESSAGE_END, train_tokenizer
from verl_tir.rollout.agent_loop import TirAgentLoop
from verl_tir.rollout.observation import ProgramRun
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


def run_python(code: str) -> str:
    """Run a program.

    Args:
        code: The program.
    """
    raise AssertionError("only its schema is used")


async def answer(code: str) -> str:
    return OUTPUT


@dataclass(frozen=True)
class Peers:
    """Makes trajectories of a given size for both loops."""

    tokenizer: PreTrainedTokenizerFast
    turns: int

    def ours(self, tokens: int) -> RunLoop:
        """SimpleTIR's loop on a trajectory of `tokens` response tokens."""
        observation = len(self.tokenizer.encode(f"\nCode execution result: {OUTPUT}\n", add_special_tokens=False))
        call = f"\n```python\n{PROGRAM}\n```\n"
        engine = Engine(self._turns(tokens, call, observation))
        shared = SimpleNamespace(config=None, sandbox=None)
        loop = self._loop(TirAgentLoop, engine, tokens)
        shared.config = loop.tir
        sandbox = Sandbox()

        async def the_sandbox() -> Sandbox:
            return sandbox

        shared.sandbox = the_sandbox
        loop.shared = shared
        return self._runner(loop, engine)

    def verls(self, tokens: int) -> RunLoop:
        """verl's ToolAgentLoop on a trajectory of `tokens` response tokens."""
        arguments = json.dumps({"name": "run_python", "arguments": {"code": PROGRAM}})
        call = f"\n<tool_call>\n{arguments}\n</tool_call>{MESSAGE_END}"
        # What the template puts around a tool's answer counts as response, as in the real thing.
        message = f"\n<|im_start|>tool\n{OUTPUT}{MESSAGE_END}\n<|im_start|>assistant\n"
        engine = Engine(self._turns(tokens, call, len(self.tokenizer.encode(message, add_special_tokens=False))))
        schema = OpenAIFunctionToolSchema.model_validate(get_json_schema(run_python))
        tool = FunctionTool(name="run_python", fn=answer, tool_schema=schema, is_async=True)
        return self._runner(self._loop(ToolAgentLoop, engine, tokens, tools=ToolListWrap([tool])), engine)

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

    def _loop(self, kind: type[AgentLoopBase], engine: Engine, tokens: int, **more: Any) -> AgentLoopBase:
        config = {
            "tir": {"recipe": "simpletir", "rollout": {"max_turns": self.turns, "max_turn_tokens": tokens}},
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
    messages = 2 * turns
    assert output.num_turns == messages, (output.num_turns, messages)
    assert abs(len(output.response_ids) - tokens) <= turns * 8, (len(output.response_ids), tokens)
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
        run = peers.ours(arguments.profile)
        run()
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(arguments.rounds):
            run()
        profile.disable()
        pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(25)
        return
    turns = arguments.turns
    print(f"CPU ms a turn, {turns} turns, median of {arguments.rounds} rounds\n")
    print(f"{'tokens':>8} {'ours':>8} {'verl':>8} {'ours/verl':>10} {'ours us/token':>14}")
    for tokens in arguments.lengths:
        ours, verls = peers.ours(tokens), peers.verls(tokens)
        for run in (ours, verls):
            check(run(), turns, tokens)
        pairs = [(cpu_ms(ours), cpu_ms(verls)) for _ in range(arguments.rounds)]
        mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{tokens:>8} {mine / turns:>8.3f} {theirs / turns:>8.3f} {ratio:>10.2f} {mine * 1000 / tokens:>14.2f}")


if __name__ == "__main__":
    EVENTS = asyncio.new_event_loop()
    asyncio.set_event_loop(EVENTS)
    main()
