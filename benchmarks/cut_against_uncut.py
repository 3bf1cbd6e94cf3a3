"""What cutting masked rows changes in verl's training step: the same stored batch, cut and uncut, side by side.

    python benchmarks/cut_against_uncut.py OUT.json

Each scenario is two whole steps (see `verl_step`) from the same weights. Written as JSON, by scenario: the largest
difference in what the step computed for every row that trains, in each optimiser step's gradient, and verl's metrics
that differ.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import verl_step
from verl_record import StepRecord
from verl_step import LocalTrainer, StoredTrajectory

PROMPTS, SAMPLES, MINI_BATCH = 4, 4, 2
TOKEN_LIMIT = 160  # of a micro-batch, so that a mini-batch has several

_COMMON = {
    "loss_agg_mode": "token-mean",
    "loss_scale_factor": "null",
    "use_dynamic_bsz": "true",
    "entropy_coeff": "0.01",
    "ppo_epochs": "1",
    "rollout_is": "token",
    "rollout_rs": "null",
    "rollout_rs_threshold": "null",
}


@dataclass(frozen=True)
class Scenario:
    """A setting of verl's update, and how much of the batch is void."""

    keys: Mapping[str, str]
    """Those under `actor_rollout_ref.actor` and `algorithm.rollout_correction` that differ from the common ones."""
    void: float = 0.4

    def overrides(self) -> list[str]:
        keys = _COMMON | dict(self.keys)
        return [
            f"algorithm.rollout_correction.{key}={value}"
            if key.startswith("rollout_")
            else f"actor_rollout_ref.actor.{key}={value}"
            for key, value in keys.items()
        ]


SCENARIOS = {
    # Two epochs, so that ratios leave 1 and are clipped.
    "token-mean": Scenario({"ppo_epochs": "2"}),
    # Sequences whose log-probabilities are far from the rollout's leave the loss as well.
    "seq-mean-token-sum": Scenario(
        {
            "loss_agg_mode": "seq-mean-token-sum",
            "rollout_is": "sequence",
            "rollout_rs": "seq_mean_k1",
            "rollout_rs_threshold": "0.6_1.6",
        }
    ),
    "seq-mean-token-mean": Scenario({"loss_agg_mode": "seq-mean-token-mean", "use_dynamic_bsz": "false"}),
    "seq-mean-token-sum-norm": Scenario({"loss_agg_mode": "seq-mean-token-sum-norm", "loss_scale_factor": "96"}),
    # More empty rows than a mini-batch has rows: anchors keep the loss defined.
    "nearly all void": Scenario({}, void=0.9),
}


@dataclass(frozen=True)
class Comparison:
    """Cut against uncut."""

    cut_rows: int
    tokens: float
    """Tokens through the update, as a share of the uncut step's."""
    loss_anchors: int
    optimiser_steps: int
    rewards: float
    """Largest difference of any row's summed reward; so are the following of the rows that train, per token."""
    advantages: float
    log_probs: float
    is_weights: float
    slopes: float
    """Relative to the largest slope."""
    cut_slopes: float
    """The largest slope at any token of a masked row, cut or not."""
    gradients: float
    """The norm of the difference, of the optimiser step where it is largest, relative to the largest gradient."""
    gradient_norm: float
    """Of the largest gradient; a mini-batch of nothing but void rows has none."""
    loss_tokens: tuple[int, int]
    """Tokens in the loss after the rollout correction, cut and uncut."""
    metrics: tuple[str, ...]
    """verl's metrics that differ by more than rounding does, those of time and memory aside."""


def rows(void: float, seed: int) -> list[StoredTrajectory]:
    """Random groups, in which the widest row is a void one."""
    random_ = random.Random(seed)
    found = []
    for group in range(PROMPTS):
        prompt = [random_.randrange(3, 300) for _ in range(random_.randrange(5, 20))]
        for session in range(SAMPLES):
            is_void = random_.random() < void and (group, session) != (0, 0)
            length = random_.randrange(10, 60) + 30 * is_void
            # A tool's output in the middle.
            mask = [int(not length // 3 < position < length // 2) for position in range(length)]
            found.append(
                StoredTrajectory(
                    group=f"g{group}",
                    session=session,
                    prompt=prompt,
                    response=[random_.randrange(3, 300) for _ in range(length)],
                    mask=mask,
                    log_probs=[random_.uniform(-7, -5) for _ in range(length)],
                    # Never all the same, which a gate would refuse.
                    reward=[0.7, 0.1][session] if session < 2 else random_.choice([0.1, 0.7, -1.0]),
                    void=is_void,
                )
            )
    return found


def compare(trainer: LocalTrainer, scenario: Scenario, seed: int) -> Comparison:
    """Both steps of a scenario."""
    batch = rows(scenario.void, seed)
    trainer.reconfigure([*scenario.overrides(), "tir.filter.cut_masked_rows=true"])
    cut = trainer.train(batch, slopes=True)
    trainer.reconfigure(["tir.filter.cut_masked_rows=false"])
    uncut = trainer.train(batch, slopes=True)
    trained = [row for row in batch if not row.void]
    largest = max(slope.abs().max().item() for row in trained for slope in uncut.slopes[_tokens(row)])
    masked = {_tokens(row) for row in batch} - {_tokens(row) for row in trained}
    masked |= cut.slopes.keys() - uncut.slopes.keys()
    largest_norm = max(map(_norm, uncut.gradients))
    return Comparison(
        cut_rows=int(cut.metrics["tir/filter/cut_rows/total"]),
        tokens=cut.tokens["update"] / uncut.tokens["update"],
        loss_anchors=int(cut.metrics["tir/filter/loss_anchors/total"]),
        optimiser_steps=len(cut.gradients),
        rewards=max(
            abs(float(cut.rows[row.key]["rm_scores"].sum() - uncut.rows[row.key]["rm_scores"].sum())) for row in batch
        ),
        advantages=_difference(cut, uncut, trained, "advantages"),
        log_probs=_difference(cut, uncut, trained, "old_log_probs"),
        is_weights=_difference(cut, uncut, trained, "rollout_is_weights"),
        slopes=max(
            (ours - theirs).abs().max().item() / largest
            for row in trained
            for ours, theirs in zip(cut.slopes[_tokens(row)], uncut.slopes[_tokens(row)], strict=True)
        ),
        cut_slopes=max(
            slope.abs().max().item()
            for record in (cut, uncut)
            for ids in masked & record.slopes.keys()
            for slope in record.slopes[ids]
        ),
        gradients=max(
            _norm([ours - theirs for ours, theirs in zip(first, second, strict=True)]) / largest_norm
            for first, second in zip(cut.gradients, uncut.gradients, strict=True)
        ),
        gradient_norm=largest_norm,
        loss_tokens=(_loss_tokens(cut), _loss_tokens(uncut)),
        metrics=_differing(cut.metrics, uncut.metrics),
    )


def _tokens(row: StoredTrajectory) -> tuple[int, ...]:
    return (*row.prompt, *row.response)


def _difference(cut: StepRecord, uncut: StepRecord, trained: Sequence[StoredTrajectory], name: str) -> float:
    return max((cut.rows[row.key][name] - uncut.rows[row.key][name]).abs().max().item() for row in trained)


def _norm(gradient: Sequence[torch.Tensor]) -> float:
    return math.sqrt(sum(float(part.double().square().sum()) for part in gradient))


def _differing(cut: Mapping[str, float], uncut: Mapping[str, float]) -> tuple[str, ...]:
    of_the_machine = ("timing_", "perf/time", "perf/throughput", "actor/perf/", "perf/mfu", "tir/")
    names = [name for name in uncut if not name.startswith(of_the_machine)]
    return tuple(sorted(name for name in names if not math.isclose(cut[name], uncut[name], rel_tol=1e-4, abs_tol=1e-5)))


def _loss_tokens(record: StepRecord) -> int:
    return sum(int(row["response_mask"].sum()) for row in record.rows.values())


def main() -> None:
    """All scenarios with one trainer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--packed", action="store_true", help="verl's use_remove_padding, as on GPUs")
    parser.add_argument("--only", nargs="*", default=list(SCENARIOS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, verl_step.transfer_queue():
        verl_step.write_model(Path(folder), hidden=32, layers=2, seed=0)
        trainer = LocalTrainer(
            verl_step.launch_config(
                {
                    "actor_rollout_ref.model.path": folder,
                    "actor_rollout_ref.model.use_remove_padding": arguments.packed,
                    "actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
                    "actor_rollout_ref.actor.ppo_mini_batch_size": MINI_BATCH,
                    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": TOKEN_LIMIT,
                    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": 2,
                    "actor_rollout_ref.actor.use_kl_loss": True,
                    "actor_rollout_ref.actor.kl_loss_coef": 0.1,
                    # Plain steps: Adam's first ones are the size of the learning rate however small the gradient.
                    "actor_rollout_ref.actor.optim.optimizer": "SGD",
                    "actor_rollout_ref.actor.optim.lr": 0.1,
                    "actor_rollout_ref.rollout.n": SAMPLES,
                    "data.train_batch_size": PROMPTS,
                    "data.max_prompt_length": 64,
                    "data.max_response_length": 96,
                }
            )
        )
        found = {
            name: asdict(compare(trainer, SCENARIOS[name], seed)) for seed, name in enumerate(arguments.only, start=1)
        }
    arguments.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
