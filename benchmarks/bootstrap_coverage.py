"""How often the 95% intervals of `verl-tir eval` hold the truth, beside the textbook's mean +- 1.96 standard errors.

Benchmarks are drawn from problems that a model solves with a chance from Beta(0.3, 0.5): most of them nearly always or
nearly never. The truth is that distribution's mean, 0.375.

    python benchmarks/bootstrap_coverage.py
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from tir_tools.evaluation.statistics import Measure, bootstrap

SHAPE = (0.3, 0.5)
TRUTH = SHAPE[0] / sum(SHAPE)


def main() -> None:
    """Print a line per number of problems."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmarks", type=int, default=1000, help="drawn for each number of problems")
    parser.add_argument("--samples", type=int, default=32, help="of each problem")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    print("problems  bootstrap  textbook  mean width")
    for problems in (15, 30, 40, 50, 100, 200, 500):
        held = textbook = width = 0.0
        for seed in range(options.benchmarks):
            chances = random.beta(*SHAPE, size=problems)
            values = random.binomial(options.samples, chances) / options.samples
            found = bootstrap({"m": Measure(values, np.ones(problems))}, seed=seed, resamples=options.resamples)["m"]
            held += bool(found.holds(TRUTH))
            width += (found.high or 0.0) - (found.low or 0.0)
            textbook += abs(values.mean() - TRUTH) <= 1.96 * values.std(ddof=1) / math.sqrt(problems)
        count = options.benchmarks
        print(f"{problems:8}  {held / count:9.3f}  {textbook / count:8.3f}  {width / count:10.3f}")


if __name__ == "__main__":
    main()
