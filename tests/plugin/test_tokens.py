"""Token in, token out: which of the sampled tokens are kept, and that they are never re-made from text."""

import functools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tir_tools.demo.tokenizer import train_tokenizer
from verl_tir.rollout.generation import Piece
from verl_tir.rollout.tokens import ResponseTokens, fit_observation, sampled_tokens, token_lengths, tokens_up_to
from verl_tir.trajectory import TurnText


@functools.cache
def _tokenizer():
    """The backend of the demo's byte-level BPE tokenizer: the same ids, and several times faster."""
    return train_tokenizer(seed=0).backend_tokenizer


def _encode(text: str) -> list[int]:
    return _tokenizer().encode(text, add_special_tokens=False).ids


def _decode(ids: list[int]) -> str:
    return _tokenizer().decode(ids, skip_special_tokens=False)


def _kept(ids: list[int], end_of: str) -> str:
    """The text of the tokens kept so that `end_of`, a part of the text, is reached."""
    text = _decode(ids)
    return _decode(ids[: tokens_up_to(ids, text, text.index(end_of) + len(end_of), _decode)])


CUTS = {
    "behind the fence": (["```py\nx = 1\n", "```", "\nThe answer"], "1\n```", "```py\nx = 1\n```"),
    "nothing behind": (["```py\nx = 1\n", "```"], "1\n```", "```py\nx = 1\n```"),
    "end of message behind": (["```py\nx\n```", "<|im_end|>"], "x\n```", "```py\nx\n```"),
    "emoji behind": (["```py\nx\n```", "\n🙂🙂"], "x\n```", "```py\nx\n```"),
    "emoji before": (["é🙂中\n```py\n'🙂'\n```", "\nx"], "'\n```", "é🙂中\n```py\n'🙂'\n```"),
    "up to an emoji": (["a🙂", "🙂b"], "a🙂", "a🙂"),
}


@pytest.mark.parametrize(("pieces", "end_of", "kept"), CUTS.values(), ids=CUTS)
def test_tokens_behind_the_cut_are_not_kept(pieces: list[str], end_of: str, kept: str) -> None:
    """Where a token ends at the cut, exactly the text up to the cut is kept."""
    ids = [token for piece in pieces for token in _encode(piece)]
    assert _kept(ids, end_of) == kept


def test_token_over_the_cut_is_kept_whole() -> None:
    """A token that holds the last wanted character stays, with what else it holds."""
    word = max((text for text in _tokenizer().get_vocab() if text.isascii() and text.isalpha()), key=len)
    (token,) = _encode(word)
    assert len(word) > 2
    ids = [*_encode("1 "), token, *_encode("9")]
    assert _kept(ids, "1 " + word[0]) == "1 " + word
    assert _kept(ids, word[:-1]) == "1 " + word


def test_half_a_character_at_the_end_is_cut_off() -> None:
    """Bytes of a character that was never finished, behind the cut, are not kept."""
    fence, smile = _encode("```py\nx\n```"), _encode("🙂")
    assert len(smile) > 1
    for count in range(1, len(smile)):
        ids = fence + smile[:count]
        assert ids[: tokens_up_to(ids, _decode(ids), len("```py\nx\n```"), _decode)] == fence


PARTS = [
    "```",
    "\n",
    "```py\n",
    "é",
    "🙂",
    "中文",
    " ",
    "  ",
    "print(1)",
    "x",
    "The answer",
    "<|im_end|>",
    "\\boxed{",
    "👩‍👩‍👧",
]


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(st.sampled_from(PARTS), min_size=1, max_size=30), seed=st.integers(0, 2**16), data=st.data())
def test_kept_tokens_are_the_shortest_prefix_that_reaches_the_end(parts: list[str], seed: int, data) -> None:
    """The kept tokens decode to a text that begins with the wanted one, and without the last of them it would not."""
    generator = random.Random(seed)
    ids = [token for part in parts for token in _encode(part)]
    # Sampling may well stop in the middle of a character, or sample a lone byte of one.
    if generator.random() < 0.3:
        ids.insert(generator.randrange(len(ids) + 1), generator.choice(_encode("🙂")))
    text = _decode(ids)
    end = data.draw(
        st.sampled_from([i + 1 for i, letter in enumerate(text) if letter != "\N{REPLACEMENT CHARACTER}"] or [0])
    )
    if end == 0:
        return
    keep = tokens_up_to(ids, text, end, _decode)
    assert _decode(ids[:keep])[:end] == text[:end]
    assert _decode(ids[: keep - 1])[:end] != text[:end]


def test_tokenizer_that_drops_leading_blanks_is_cut_right() -> None:
    """Tails that decode to less than their share of the text, as sentencepiece's do, do not shift the cut."""
    words = ["a", " b", " ", "c", " ```", " ", " ", "d", " e"]

    def decode(ids: list[int]) -> str:
        return "".join(words[token] for token in ids).removeprefix(" ")

    ids = list(range(len(words)))
    for count in range(1, len(words) + 1):
        assert tokens_up_to(ids, decode(ids), len("".join(words[:count])), decode) == count


def test_few_tokens_are_decoded_for_a_cut_near_the_end() -> None:
    """The common case, a stop at the fence, does not decode the whole turn again and again."""
    ids = _encode("x = 1\n" * 2000 + "```") + _encode("\nso")
    text = _decode(ids)
    decoded = 0

    def counting(part: list[int]) -> str:
        nonlocal decoded
        decoded += len(part)
        return _decode(part)

    assert tokens_up_to(ids, text, len(text) - len("\nso"), counting) == len(ids) - len(_encode("\nso"))
    assert decoded < 2.5 * len(ids)


def test_cut_behind_everything_keeps_everything() -> None:
    """Where nothing is behind the cut, all tokens stay."""
    ids = _encode("x = 1")
    assert tokens_up_to(ids, "x = 1", 5, _decode) == len(ids)
    assert tokens_up_to(ids, "x = 1", 9, _decode) == len(ids)
    assert tokens_up_to([], "", 0, _decode) == 0


FITS = {
    "shorter": (3, 4, [0, 1, 2], False),
    "as long": (4, 4, [0, 1, 2, 3], False),
    "one longer": (5, 4, [0, 1, 3, 4], True),
    "much longer": (100, 4, [0, 1, 98, 99], True),
    "odd room": (100, 5, [0, 1, 97, 98, 99], True),
    "two": (100, 2, [0, 99], True),
    "one": (100, 1, [99], True),
    "none": (100, 0, [], True),
    "empty": (0, 4, [], False),
}


@pytest.mark.parametrize(("length", "room", "kept", "cut"), FITS.values(), ids=FITS)
def test_observation_keeps_its_head_and_tail(length: int, room: int, kept: list[int], cut: bool) -> None:
    """An observation over its token cap loses its middle, and exactly the cap is left."""
    assert fit_observation(list(range(length)), room) == (kept, cut)


def test_response_keeps_ids_masks_and_log_probs_in_step() -> None:
    """Model tokens carry mask 1 and their log-probability, observation tokens mask 0 and 0.0."""
    tokens = ResponseTokens()
    tokens.append_model([5, 6], [-0.5, -0.25])
    tokens.append_observation([7])
    tokens.append_model([8], [-1.0])
    tokens.append_model([], [])
    assert tokens.ids == [5, 6, 7, 8]
    assert tokens.mask == [1, 1, 0, 1]
    assert tokens.log_probs == [-0.5, -0.25, 0.0, -1.0]
    assert len(tokens) == 4


@pytest.mark.parametrize("log_probs", [[], [-0.5], [-0.5, -0.5, -0.5]], ids=["none", "fewer", "more"])
def test_log_probs_that_do_not_match_are_refused(log_probs: list[float]) -> None:
    """Training on the wrong log-probabilities would be silent, so it raises before anything is appended."""
    with pytest.raises(ValueError, match=rf"2 sampled token ids came with {len(log_probs)} log-probabilities"):
        Piece([5, 6], log_probs, aborted=False)


LENGTHS = {
    "nothing": ("", []),
    "special tokens": ("a<|im_end|>", [1, 10]),
    "one character in several tokens": ("中", [0, 0, 1]),
    "between characters": ("é.🙂", [0, 1, 1, 0, 0, 0, 1]),
}


@pytest.mark.parametrize(("text", "lengths"), LENGTHS.values(), ids=LENGTHS)
def test_each_token_knows_its_characters(text: str, lengths: list[int]) -> None:
    """A character that is made of several tokens is its last one's."""
    assert token_lengths(_encode(text), text, _decode) == lengths


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_lengths_of_tokens_add_up_and_never_split_a_text(text: str) -> None:
    """Whatever the text: all of it is some token's, and tokens that hold whole characters hold their own."""
    ids = _encode(text)
    decoded, position = _decode(ids), 0
    lengths = token_lengths(ids, decoded, _decode)
    assert len(lengths) == len(ids)
    for token, length in zip(ids, lengths, strict=True):
        own = _decode([token])
        if "\ufffd" not in own and "\ufffd" not in decoded:
            assert decoded[position : position + length] == own
        position += length
    assert position == len(decoded)


def test_bytes_that_are_no_text_are_somebodys_too() -> None:
    """A model may sample half a character and go on; nothing behind it shifts."""
    half = _encode("🙂")[:2]
    ids = [*_encode("ab"), *half, *_encode("cd")]
    text = _decode(ids)
    lengths = token_lengths(ids, text, _decode)
    assert sum(lengths) == len(text)
    assert lengths[-len(_encode("d")) :] == [1]


def test_a_text_survives_its_record() -> None:
    """Log-probabilities are kept to hundredths; what JSON cannot hold has a stand-in."""
    tokens = sampled_tokens(_encode("ab"), [-0.0004, float("-inf")], "ab", _decode)
    assert tokens.log_probs == (0.0, -1000.0)
    assert sampled_tokens(_encode("a"), [float("nan")], "a", _decode).log_probs == (None,)
    for said in (TurnText("ab", None, "é", tokens), TurnText("ab", "x", "", program_from_text=True)):
        assert TurnText.from_record(said.to_record()) == said
    assert TurnText("é", None, "").to_record() == {"text": "é", "program": None, "observation": ""}
