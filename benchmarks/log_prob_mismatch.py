"""How far the engine's and the trainer's log-probabilities of the same sampled tokens are apart, and where.

    python benchmarks/log_prob_mismatch.py --model smollm2 --folder runs/mismatch
    python benchmarks/log_prob_mismatch.py --model RUN --folder runs/mismatch --engine float32

One step of `verl-tir demo --model` at learning rate 0, every trajectory kept whole, void ones too. Compared are vLLM's
log-probabilities, those that verl's FSDP trainer computes of the same tokens in the same run (in the engine's type, by
the platform's rule), and those of transformers in fp32, which stand for a trainer that computes in fp32. The ratio is
pi_trainer / pi_engine of a token; KL is the mean of -log ratio over tokens that the engine sampled. What verl's
`algorithm.rollout_correction` would do is computed by verl's own function on the same rows.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pandas import DataFrame, Series, cut
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_rejection_mask

from tir_tools.demo.training_plan import REAL

_POSITIONS = (0, 8, 16, 32, 64, 128, 1 << 20)
_SINCE_OUTPUT = (0, 4, 16, 1 << 20)
_CORRECTIONS = (
    {"rollout_is": "token", "rollout_is_threshold": 2.0},
    {"rollout_is": "sequence", "rollout_is_threshold": 2.0},
    {"rollout_rs": "seq_mean_k1", "rollout_rs_threshold": "0.999_1.001"},
    {"rollout_rs": "token_k1", "rollout_rs_threshold": "0.5_2.0"},
)
"""verl's, with the thresholds that its documentation names."""


def sample(folder: Path, model: str, engine: str) -> None:
    """Run one step and keep its log-probabilities."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "verl_tir", "demo", f"--model={model}", "--steps=1", f"--folder={folder}"]
    command += [f"actor_rollout_ref.rollout.dtype={engine}", "actor_rollout_ref.actor.optim.lr=0"]
    command += ["tir.filter.void=off", "tir.filter.cut_masked_rows=false", "tir.filter.min_reward_std=null"]
    # The trainer is to compute them too.
    command += ["algorithm.rollout_correction.bypass_mode=false"]
    command += ["trainer.val_before_train=false", "trainer.test_freq=-1", "trainer.save_freq=-1"]
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"VERL_USE_EXTERNAL_MODULES": "log_prob_recorder", "TIR_LOG_PROB_FOLDER": str(folder)}
    environment |= {"PYTHONPATH": os.pathsep.join(paths)}
    with (folder / "demo.log").open("w", encoding="utf-8") as log:
        status = subprocess.run(command, stdout=log, stderr=log, env=os.environ | environment).returncode
    if status:
        sys.exit(f"the run ended with status {status}; see {folder / 'demo.log'}")


def kept(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    """What the recorder wrote in all processes."""
    for file in sorted(folder.glob(f"{kind}-*.jsonl")):
        yield from map(json.loads, file.read_text(encoding="utf-8").splitlines())


def exact(model: Any, row: Mapping[str, Any]) -> list[float]:
    """The log-probabilities of a response's tokens in fp32, at the rollout's temperature."""
    ids = torch.tensor(row["prompt"] + row["response"])
    with torch.inference_mode():
        logits = model(ids[None]).logits[0, len(row["prompt"]) - 1 : -1] / REAL.temperature
    chosen = logits.log_softmax(-1).gather(-1, ids[len(row["prompt"]) :, None])
    return chosen[:, 0].tolist()


def tokens(folder: Path, model: Any) -> DataFrame:
    """One row for each token that the model sampled: where it stands, and its log-probability by each of the three."""
    trained = {tuple(row["ids"]): row["log_probs"] for row in kept(folder, "trainer")}
    found = []
    for number, row in enumerate(kept(folder, "engine")):
        # One that gave nothing to train on, such as an aborted one, was not recomputed.
        if (trainer := trained.get((*row["prompt"], *row["response"]))) is None:
            continue
        trainer, reference = trainer[len(row["prompt"]) - 1 :], exact(model, row)
        at = 0
        for turn, said in enumerate(row["turns"]):
            void = not (said["has_code"] or said["has_answer"])
            for since in range(said["model_tokens"]):
                found.append(
                    {
                        "trajectory": number,
                        "position": at,
                        "turn": min(turn + 1, 3),
                        "since output": since if turn else -1,
                        "void turn": void,
                        "engine": row["log_probs"][at],
                        "trainer": trainer[at],
                        "fp32": reference[at],
                    }
                )
                at += 1
            at += said["observation_tokens"]
    if not found:
        sys.exit(f"{folder} has no trajectory that both the engine and the trainer computed")
    return DataFrame(found)


def apart(table: DataFrame, sampled: str, trained: str) -> Series:
    """How far two columns are apart, over tokens and, for the last two figures, over trajectories."""
    log_ratio = table[trained] - table[sampled]
    of_trajectory = log_ratio.groupby(table.trajectory).sum()
    return Series(
        {
            "tokens": len(table),
            "mean difference of probability": (np.exp(table[trained]) - np.exp(table[sampled])).abs().mean(),
            "KL": -log_ratio.mean(),
            "largest ratio": np.exp(log_ratio.max()),
            "smallest ratio": np.exp(log_ratio.min()),
            "share beyond 1.2": (log_ratio.abs() > np.log(1.2)).mean(),
            "trajectory, largest": np.exp(of_trajectory.max()),
            "trajectory, smallest": np.exp(of_trajectory.min()),
        }
    )


PAIRS = {"engine and trainer": ("engine", "trainer"), "engine and fp32": ("engine", "fp32")}
PAIRS |= {"trainer and fp32": ("trainer", "fp32")}


def corrections(table: DataFrame, trained: str) -> DataFrame:
    """What verl's correction for the mismatch would do to these rows."""
    groups = [group for _, group in table.groupby("trajectory")]
    padded = {
        name: pad_sequence([torch.tensor(group[name].to_numpy()) for group in groups], batch_first=True)
        for name in ("engine", trained)
    }
    mask = pad_sequence([torch.ones(len(group)) for group in groups], batch_first=True)
    found = []
    for asked in _CORRECTIONS:
        weights, left, metrics = compute_rollout_correction_and_rejection_mask(
            padded[trained], padded["engine"], mask, **asked
        )
        size = metrics.get("rollout_corr/rollout_is_eff_sample_size")
        found.append(
            {
                "rollout_correction": ", ".join(f"{key}={value}" for key, value in asked.items()),
                "mean weight": None if weights is None else metrics["rollout_corr/rollout_is_mean"],
                "effective sample size": size,
                "tokens left": (left.sum() / mask.sum()).item(),
            }
        )
    return DataFrame(found).set_index("rollout_correction")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="as `verl-tir demo --model` takes it")
    parser.add_argument("--folder", type=Path, required=True, help="of the run and of what it keeps")
    parser.add_argument("--engine", default="bfloat16", choices=["bfloat16", "float32"], help="the engine's type")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if not (kept_in := folder / f"log-probs-{options.engine}").exists():
        sample(kept_in, options.model, options.engine)
    (run,) = kept_in.glob("demo-*")
    weights = re.search(r"actor_rollout_ref\.model\.path=(.*?)(?: \\)?$", (run / "command.txt").read_text(), re.M)
    table = tokens(kept_in, AutoModelForCausalLM.from_pretrained(weights[1], dtype=torch.float32).eval())
    table["position"] = cut(table.position, _POSITIONS, right=False)
    table["since output"] = cut(table["since output"], _SINCE_OUTPUT, right=False)
    print(f"{table.trajectory.nunique()} trajectories, engine in {options.engine}\n")
    show(DataFrame({name: apart(table, *pair) for name, pair in PAIRS.items()}).T)
    for column in ("turn", "position", "since output", "void turn"):
        for name, pair in list(PAIRS.items())[:2]:
            print(f"{name}, by {column}:\n")
            show(DataFrame({key: apart(part, *pair) for key, part in table.groupby(column, observed=True)}).T)
    for trained in ("trainer", "fp32"):
        print(f"verl's rollout_correction, {trained} against the engine:\n")
        show(corrections(table, trained))


def show(table: DataFrame) -> None:
    """As Markdown."""
    head = (str(table.columns.name or table.index.name or ""), *map(str, table.columns))
    lines = [(str(name), *(f"{value:.3g}" for value in line)) for name, *line in table.itertuples()]
    for line in (head, ("---",) * len(head), *lines):
        print("| " + " | ".join(line) + " |")
    print()


if __name__ == "__main__":
    main()
