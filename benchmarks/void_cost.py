"""What void trajectories cost in training: their rows cut, and whole as in the reference, in verl's own training step.

    python benchmarks/void_cost.py
    python benchmarks/void_cost.py --void 0 0.5 0.9 --prompts 32 --response 64 1024 --rounds 5

The step is `PPOTrainer._step_once` with verl's FSDP2 engine on the CPU (see `verl_step`), packed as on GPUs
(`use_remove_padding`) unless `--padded` is given. Tokens are those that pass through the model; seconds are CPU time of
the one thread that computes, the least of the rounds, so that other work on the machine counts for little. Void rows
are as long as the others.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import verl_step
from verl_record import StepRecord
from verl_step import LocalTrainer, StoredTrajectory

STAGES = ("old_log_prob", "update")


@dataclass(frozen=True)
class Cost:
    """Of a step's stage."""

    tokens: int
    seconds: float


@dataclass(frozen=True)
class Sizes:
    prompts: int
    samples: int
    prompt: int
    response: tuple[int, int]
    """Shortest and longest."""


def rows(sizes: Sizes, void_ratio: float, seed: int) -> list[StoredTrajectory]:
    """Random groups, with exactly that share of void rows."""
    random_ = random.Random(seed)
    count = sizes.prompts * sizes.samples
    void = set(random_.sample(range(count), round(void_ratio * count)))
    found = []
    for index in range(count):
        group, session = divmod(index, sizes.samples)
        length = random_.randint(*sizes.response)
        found.append(
            StoredTrajectory(
                group=f"g{group}",
                session=session,
                prompt=[random_.randrange(3, 300) for _ in range(sizes.prompt)],
                response=[random_.randrange(3, 300) for _ in range(length)],
                mask=[1] * length,
                log_probs=[-6.0] * length,
                # Half of each group, so that no gate refuses one.
                reward=float(session % 2),
                void=index in void,
            )
        )
    return found


def measure(trainer: LocalTrainer, sizes: Sizes, void_ratio: float, rounds: int) -> dict[bool, dict[str, Cost]]:
    """Each stage's cost, with the rows cut (True) and whole (False), in turns."""
    batch = rows(sizes, void_ratio, seed=0)
    records: dict[bool, list[StepRecord]] = {True: [], False: []}
    for _ in range(rounds):
        for cut, found in records.items():
            trainer.reconfigure([f"tir.filter.cut_masked_rows={str(cut).lower()}"])
            found.append(trainer.train(batch))
    return {
        cut: {stage: Cost(found[0].tokens[stage], min(record.seconds[stage] for record in found)) for stage in STAGES}
        for cut, found in records.items()
    }


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--void", type=float, nargs="+", default=[0.0, 0.2, 0.5], help="shares of void rows")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--response", type=int, nargs=2, default=[64, 448], help="fewest and most tokens of a response")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--micro-batch-tokens", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--padded", action="store_true", help="micro-batches padded to their widest row")
    arguments = parser.parse_args()
    sizes = Sizes(arguments.prompts, arguments.samples, arguments.prompt, tuple(arguments.response))
    with tempfile.TemporaryDirectory() as folder, verl_step.transfer_queue():
        verl_step.write_model(Path(folder), hidden=arguments.hidden, layers=arguments.layers, seed=0)
        trainer = LocalTrainer(
            verl_step.launch_config(
                {
                    "actor_rollout_ref.model.path": folder,
                    "actor_rollout_ref.model.use_remove_padding": not arguments.padded,
                    "actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
                    "actor_rollout_ref.actor.ppo_mini_batch_size": arguments.prompts,
                    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": arguments.micro_batch_tokens,
                    "actor_rollout_ref.rollout.n": arguments.samples,
                    "data.train_batch_size": arguments.prompts,
                    "data.max_prompt_length": arguments.prompt,
                    "data.max_response_length": arguments.response[1],
                }
            )
        )
        trainer.train(rows(sizes, 0.0, seed=0))  # warm-up
        print(
            f"{'void':>5}  {'stage':<12} {'tokens: cut':>11} {'whole':>9} ratio   {'CPU s: cut':>10} {'whole':>7} ratio"
        )
        for ratio in arguments.void:
            costs = measure(trainer, sizes, ratio, arguments.rounds)
            for stage in STAGES:
                cut, whole = costs[True][stage], costs[False][stage]
                print(
                    f"{ratio:5.2f}  {stage:<12} {cut.tokens:11,} {whole.tokens:9,} {cut.tokens / whole.tokens:5.3f}"
                    f"   {cut.seconds:10.2f} {whole.seconds:7.2f} {cut.seconds / whole.seconds:5.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
