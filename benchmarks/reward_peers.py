"""What the reward's benchmarks compare: pairs of answer and ground truth, and math-verify as its users call it."""

from __future__ import annotations

import json
import logging
import random
from dataclasses import dataclass
from pathlib import Path

LABELLED = Path(__file__).parents[1] / "tests" / "data" / "labelled_pairs.jsonl"


@dataclass(frozen=True, slots=True)
class Pair:
    """One comparison."""

    answer: str
    truth: str
    equal: bool | None = None
    """What a grader says; None where nobody did."""
    kind: str = ""


def labelled_pairs(path: Path = LABELLED) -> list[Pair]:
    """The project's labelled pairs."""
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [Pair(line["answer"], line["ground_truth"], line["equal"], line["kind"]) for line in lines]


def ground_truths(path: Path) -> list[str]:
    """The ground truths of a parquet file in verl's format."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(path, columns=["reward_model"]).to_pylist()
    return [row["reward_model"]["ground_truth"] for row in rows]


def sampled_groups(truths: list[str], groups: int, samples: int, seed: int) -> list[Pair]:
    """Answers as a group of samples gives them: about half right, the wrong ones among a few that come again.

    The wrong answers are other problems' ground truths, so that they are of every kind.
    """
    source = random.Random(seed)
    pairs = []
    for truth in source.sample(truths, min(groups, len(truths))):
        wrong = [source.choice(truths) for _ in range(max(1, samples // 4))]
        right = source.random()
        pairs += [Pair(truth if source.random() < right else source.choice(wrong), truth) for _ in range(samples)]
    source.shuffle(pairs)
    return pairs


def math_verify_says(pair: Pair) -> bool:
    """Both sides in a box, as verl's own `math_verify` reward puts them, with math-verify's own time limits."""
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return verify(parse(rf"\boxed{{{pair.truth}}}"), parse(rf"\boxed{{{pair.answer}}}"))
