"""What the tiny model is warmed up on: in the format that the rollout reads, and as bad as it is said to be."""

from __future__ import annotations

import itertools

import pytest

from tir_tools.demo.formats import CALLS, Transcript, transcript
from tir_tools.demo.tokenizer import NUMBERS, train_tokenizer
from tir_tools.demo.transcripts import Call, Say, Walk, good_walks, walks
from tir_tools.demo.warm_start import batch_of
from verl_tir.rollout.turn_rule import resolve_turn_rule

MANY = 1_800


def last_word(walk: Walk) -> str:
    assert isinstance(walk.moves[-1], Say)
    return walk.moves[-1].text


def turns(shown: Transcript) -> list[str]:
    """The model's texts between the tool's."""
    groups = itertools.groupby(shown.spans, key=lambda span: span.trained)
    return ["".join(span.text for span in spans) for trained, spans in groups if trained]


@pytest.mark.parametrize("recipe", list(CALLS))
@pytest.mark.parametrize("stream", [good_walks, walks])
def test_the_turn_rule_finds_the_programs_and_the_answer(recipe: str, stream) -> None:
    """Each call of a walk is a turn with that program, and nothing else is."""
    rule = resolve_turn_rule(recipe)
    for walk in itertools.islice(stream(5), 90):
        *calling, last = turns(transcript(walk, recipe))
        found = [rule.parse(text).block for text in calling]
        assert [block.code for block in found] == [move.program.code for move in walk.moves if isinstance(move, Call)]
        assert rule.parse(last).block is None
        assert last.endswith(last_word(walk))


def test_good_walks_solve_every_problem() -> None:
    """By its programs, one a turn, and a box around what the last one printed."""
    for walk in itertools.islice(good_walks(2), 90):
        assert tuple(move.program for move in walk.moves if isinstance(move, Call)) == walk.problem.solution
        assert last_word(walk) == f"\\boxed{{{walk.problem.answer}}}"


def test_the_habits_leave_something_to_learn() -> None:
    """20% to 40% of the walks are right, at least as many end void, and every kind has some of both."""
    seen = list(itertools.islice(walks(4), MANY))
    right = [walk.problem.kind for walk in seen if last_word(walk) == f"\\boxed{{{walk.problem.answer}}}"]
    void = [walk.problem.kind for walk in seen if "\\boxed" not in last_word(walk)]
    assert 0.2 < len(right) / MANY < 0.4
    assert 0.3 < len(void) / MANY < 0.5
    assert set(right) == set(void) == {walk.problem.kind for walk in seen}


def test_numbers_of_up_to_three_digits_are_one_token() -> None:
    """Wherever they stand, so that an operand is copied in one step; text comes back as it was."""
    tokenizer = train_tokenizer(seed=0)
    assert len(NUMBERS) == 1_100
    for text, numbers in (("print(706*567-26)", ["706", "567", "26"]), ("is 48213?", ["482", "13"]), ("007", ["007"])):
        ids = tokenizer.encode(text)
        assert [token for token in map(tokenizer.decode, ids) if token.isdigit()] == numbers
        assert tokenizer.decode(ids) == text


def test_a_batch_holds_what_the_rollout_would() -> None:
    """The prompt as the chat template has it, span by span behind it; only what the model wrote is learned."""
    tokenizer = train_tokenizer(seed=0)
    shown = [transcript(walk, "simpletir") for walk in itertools.islice(walks(3), 20)]
    ids, labels = batch_of(shown, tokenizer)
    for row, learned, item in zip(ids.tolist(), labels.tolist(), shown, strict=True):
        messages = [{"role": "user", "content": item.question}]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
        expected, trained = list(prompt), [False] * len(prompt)
        for span in item.spans:
            piece = tokenizer.encode(span.text)
            expected += piece
            trained += [span.trained] * len(piece)
        expected, trained = [*expected, tokenizer.eos_token_id], [*trained, True]
        assert row[: len(expected)] == expected
        assert [label != -100 for label in learned[: len(expected)]] == trained
        assert all(label in (-100, token) for label, token in zip(learned, row, strict=True))
        assert set(learned[len(expected) :]) <= {-100}
