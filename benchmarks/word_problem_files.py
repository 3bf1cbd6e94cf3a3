"""Writes held-out word problems as benchmarks for `verl-tir eval`, many of a kind where the demo validates on a few.

    python benchmarks/word_problem_files.py --folder runs/problems --of-a-kind 50
    verl-tir eval RUN/checkpoints/global_step_40 --data runs/problems/own_example.parquet --output runs/eval ...

`own_example.parquet` has before each question what the demo shows: a product, and a solved problem of the question's
own sort. In `same_examples.parquet` a product and a sum stand before all questions, so that a program that the model
has not seen in the prompt has to come from its weights. The problems are the same: with numbers that no training
problem has, half of them in words that none has. The benchmarks are few, so that each has many problems: products, sums
and remainders, and the other kinds, in both words.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from pandas import DataFrame

from tir_tools.demo.tasks.data import verl_row
from tir_tools.demo.tasks.word_problems import KINDS, WordProblem, word_problem_splits
from tir_tools.demo.worked_examples import PRODUCT, SUM, WorkedExample, with_worked_examples

PLAIN = ("products", "sums", "remainders")


def write(path: Path, ending: str, problems: Iterable[tuple[WordProblem, WorkedExample]]) -> None:
    rows = []
    for index, (problem, example) in enumerate(problems):
        name = ", ".join(PLAIN) if problem.kind in PLAIN else "other kinds"
        name += (", new words" if problem.new_words else "") + ending
        row = verl_row(problem, index, "test") | {"data_source": name}
        rows.append(row | {"prompt": with_worked_examples(row["prompt"], (PRODUCT, example))})
    DataFrame(rows).to_parquet(path)
    print(f"{path}: {len(rows)} problems")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--of-a-kind", type=int, default=50, help="in the words of training, and as many in new ones")
    parser.add_argument("--seed", type=int, default=1_000, help="of the numbers; none is of training whatever the seed")
    options = parser.parse_args()
    count = options.of_a_kind * len(KINDS)
    splits = word_problem_splits(options.seed, 0, count, count)
    problems = (*splits.val, *splits.val_phrasings)
    options.folder.mkdir(parents=True, exist_ok=True)
    write(options.folder / "own_example.parquet", "", ((problem, problem.example) for problem in problems))
    write(options.folder / "same_examples.parquet", ", same examples", ((problem, SUM) for problem in problems))


if __name__ == "__main__":
    main()
