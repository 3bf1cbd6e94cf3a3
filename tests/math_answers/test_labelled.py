"""The labelled pairs: what a careful grader says of each, and what the scorer says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from math_answers.equivalence import is_equivalent, settled

PAIRS = [
    json.loads(line) for line in (Path(__file__).parents[1] / "data" / "labelled_pairs.jsonl").read_text().splitlines()
]

KNOWN = {
    (r"5\text{ km}", r"5000\text{ m}"): "units are not converted",
    (r"\$0.20", r"20\text{ cents}"): "units are not converted",
    (r"2 \text{ hours } 30 \text{ minutes}", r"2.5\text{ hours}"): "units are not converted",
    ("xyz", "zyx"): "three letters on end are a word, whose order counts",
    ("(-1)^{2n}", "1"): "letters stand for any number, and nobody says that n is whole",
    ("Tues.", r"\text{Tuesday}"): "abbreviations are not known",
}
"""Pairs on which the scorer is wrong, and why; docs/reward.md has them too. All are right answers refused."""


@pytest.mark.parametrize("kind", sorted({pair["kind"] for pair in PAIRS}))
def test_the_scorer_says_what_a_grader_says(kind: str) -> None:
    """Each pair of the kind, but for the known ones, which must still be what they are said to be."""
    pairs = [pair for pair in PAIRS if pair["kind"] == kind]
    wrong = {
        (pair["answer"], pair["ground_truth"])
        for pair in pairs
        if is_equivalent(pair["answer"], pair["ground_truth"]) != pair["equal"]
    }
    assert wrong == KNOWN.keys() & {(pair["answer"], pair["ground_truth"]) for pair in pairs}


def test_no_wrong_answer_is_accepted() -> None:
    """What is known to be wrong is a right answer refused, never the other way round."""
    labels = {(pair["answer"], pair["ground_truth"]): pair["equal"] for pair in PAIRS}
    assert all(labels[pair] for pair in KNOWN)


def test_what_needs_no_algebra_is_settled_alike() -> None:
    """The quick way, taken in the caller's process, says of no pair anything else than the whole one."""
    for pair in PAIRS:
        quick = settled(pair["answer"], [pair["ground_truth"]])
        if quick is not None and (pair["answer"], pair["ground_truth"]) not in KNOWN:
            assert quick == pair["equal"], pair


def test_the_set_is_what_it_says() -> None:
    """Many pairs, of both kinds of label in every kind of answer, each once; a judgement has its note."""
    assert len(PAIRS) >= 800
    labels = Counter((pair["kind"], pair["equal"]) for pair in PAIRS)
    assert all(labels[kind, True] and labels[kind, False] for kind, _ in labels)
    assert len({(pair["answer"], pair["ground_truth"]) for pair in PAIRS}) == len(PAIRS)
    assert all(set(pair) - {"note"} == {"kind", "answer", "ground_truth", "equal"} for pair in PAIRS)
