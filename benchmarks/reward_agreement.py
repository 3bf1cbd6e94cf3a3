"""What the scorer says beside what graders and math-verify say.

    python benchmarks/reward_agreement.py
    python benchmarks/reward_agreement.py --problems train.parquet

First the labelled pairs of the project, by kind: wrong answers that are accepted, right ones that are refused, by
either side. With `--problems`, then each different ground truth of the file as its own answer, in a box as a response
gives it, and against others of the file; then the ground truths rewritten by sympy (as Python prints them, expanded, as
a float), which are right, and with one digit changed or rounded to three digits, which are wrong. Pairs on which ours
is not what it should be are printed, and those of the file on which the two sides differ.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from reward_peers import Pair, ground_truths, labelled_pairs, math_verify_says

from math_answers import ScoringPool, Verdict, last_boxed
from math_answers.algebra import parsed
from math_answers.latex_text import tidy


def our_verdicts(pairs: list[Pair]) -> list[Verdict]:
    """The pool's, with more time than in training, so that a busy machine decides nothing."""

    async def all_of(pool: ScoringPool) -> list[Verdict]:
        return await asyncio.gather(*(pool.compare(pair.answer, pair.truth) for pair in pairs))

    with contextlib.closing(ScoringPool(2, timeout=20.0, memory_limit_mb=2048)) as pool:
        return asyncio.run(all_of(pool))


def boxed(answer: str) -> str:
    """What is found of an answer in a response; an error where nothing is."""
    found = last_boxed(rf"So the answer is $\boxed{{{answer}}}$.")
    assert found is not None, answer
    return found


def print_labelled(pairs: list[Pair], name: bool = False) -> None:
    """A table by kind; with `name` also the pairs on which ours is wrong."""
    ours = [verdict is Verdict.CORRECT for verdict in our_verdicts(pairs)]
    peers = [math_verify_says(pair) for pair in pairs]
    print(f"{'kind':19} {'pairs':>5}   ours: accepted refused   math-verify: accepted refused")
    kinds = list(dict.fromkeys(pair.kind for pair in pairs))
    for kind in [*kinds, "all"]:
        rows = [row for row in zip(pairs, ours, peers, strict=True) if kind in (row[0].kind, "all")]
        # Mistakes by label: False is a wrong answer that was accepted.
        mine, peer = (Counter(pair.equal for pair, *said in rows if said[side] != pair.equal) for side in range(2))
        print(f"{kind:19} {len(rows):5}   {mine[False]:14} {mine[True]:7}   {peer[False]:21} {peer[True]:7}")
    if name:
        print_pairs("  ours is wrong on", (pair for pair, said in zip(pairs, ours, strict=True) if said != pair.equal))


def print_problems(truths: list[str], others: int, seed: int) -> None:
    source = random.Random(seed)
    different = sorted(set(truths))
    print(f"\n{len(truths)} problems, {len(different)} different ground truths")
    for title, pairs in (
        ("each as its own answer", [Pair(boxed(truth), truth) for truth in different]),
        ("against others", [Pair(a, b) for b in different for a in source.sample(different, others) if a != b]),
    ):
        ours = our_verdicts(pairs)
        peers = [math_verify_says(pair) for pair in pairs]
        counts = Counter(ours)
        print(f"{title}: {len(pairs)} pairs; ours {dict(counts)}; math-verify {sum(peers)} equal")
        print_pairs(
            "  ours equal" if title == "against others" else "  ours not equal",
            (
                pair
                for pair, verdict in zip(pairs, ours, strict=True)
                if (verdict is Verdict.CORRECT) == (title == "against others")
            ),
        )
        print_pairs(
            "  the two differ",
            (
                pair
                for pair, verdict, peer in zip(pairs, ours, peers, strict=True)
                if (verdict is Verdict.CORRECT) != peer
            ),
        )


def rewritten(truth: str, source: random.Random) -> list[Pair]:
    """Right and wrong answers made of a ground truth; none where it is no single expression of numbers and letters."""
    import sympy

    value = parsed(tidy(truth))
    if not isinstance(value, sympy.Expr) or "\\text" in truth or "\\triangle" in truth:
        return []
    value = value.doit()
    pairs = [
        Pair(str(value), truth, True, "as Python prints it"),
        Pair(sympy.latex(sympy.expand(value)), truth, True, "expanded"),
    ]
    if value.is_real and not value.is_Integer and not value.free_symbols:
        number = float(value.evalf(20))
        pairs.append(Pair(repr(number), truth, True, "as a float"))
        if float(f"{number:.3g}") != number:
            pairs.append(Pair(f"{number:.3g}", truth, False, "three digits"))
    digits = [match.start() for match in re.finditer(r"\d", truth)]
    if digits:
        at = source.choice(digits)
        digit = source.choice([digit for digit in "123456789" if digit != truth[at]])
        pairs.append(Pair(truth[:at] + digit + truth[at + 1 :], truth, False, "a digit changed"))
    return pairs


def print_pairs(title: str, pairs: Iterable[Pair]) -> None:
    for pair in pairs:
        print(f"{title}: {pair.answer}   |   {pair.truth}")


def print_rewritten(truths: list[str], seed: int) -> None:
    source = random.Random(seed)
    pairs = [pair for truth in sorted(set(truths)) for pair in rewritten(truth, source)]
    # What is rewritten as it was says nothing.
    print("\nground truths rewritten")
    print_labelled([pair for pair in pairs if pair.answer != pair.truth], name=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=Path, help="parquet file in verl's format")
    parser.add_argument("--others", type=int, default=4, help="other ground truths that each one is compared with")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print_labelled(labelled_pairs())
    if options.problems is not None:
        print_problems(ground_truths(options.problems), options.others, options.seed)
        print_rewritten(ground_truths(options.problems), options.seed)


if __name__ == "__main__":
    main()
