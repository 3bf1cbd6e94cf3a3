"""Which fields of a row are cut to what, without any storage."""

import pytest

from verl_tir.sampler.cut import RAGGED, RowLengths, cut_shape, misfits, shortest_row

ROW = RowLengths(prompt=5, response=7)
TWO = RowLengths(prompt=1, response=1)


@pytest.mark.parametrize(
    ("engine", "lengths"),
    [
        ("fsdp", (1, 1)),
        ("fsdp2", (1, 1)),
        ("megatron", (127, 1)),
        ("veomni", (127, 1)),
        ("torchtitan", (127, 1)),
        (None, (127, 1)),
    ],
)
def test_the_shortest_row_of_each_engine(engine: str | None, lengths: tuple[int, int]) -> None:
    """Two tokens where they are known to be enough; else as many as verl's own padding rows have."""
    found = shortest_row(engine, padding_tokens=128)
    assert (found.prompt, found.response) == lengths


# field: shape in a row of 5 + 7 tokens, shape after the cut to 1 + 1
SHAPES = {
    "prompts": ((5,), (1,)),
    "responses": ((7,), (1,)),
    "response_mask": ((7,), (1,)),
    "loss_mask": ((7,), (1,)),
    "rm_scores": ((7,), (1,)),
    "rollout_log_probs": ((7,), (1,)),
    "input_ids": ((12,), (2,)),
    "attention_mask": ((12,), (2,)),
    "position_ids": ((12,), (2,)),
    "routed_experts": ((12, 3, 8), (2, 3, 8)),
    "teacher_ids": ((12, 64), (2, 64)),
    "teacher_logprobs": ((12, 64), (2, 64)),
}


@pytest.mark.parametrize(("name", "before", "after"), [(name, *shapes) for name, shapes in SHAPES.items()])
def test_fields_are_cut_along_their_own_axis(name: str, before: tuple[int, ...], after: tuple[int, ...]) -> None:
    """Every other axis stays as it is."""
    assert misfits({name: before}, ROW) == ()
    assert cut_shape(name, before, TWO) == after


def test_positions_in_several_dimensions_are_cut_along_the_last() -> None:
    """Also where one of the others has the length that the row is cut to."""
    assert cut_shape("position_ids", (4, 12), TWO) == (4, 2)
    assert misfits({"position_ids": (4, 12)}, ROW) == ()


def test_every_known_field_has_its_example() -> None:
    """A field that is added to the table is added here."""
    assert SHAPES.keys() == RAGGED.keys()


@pytest.mark.parametrize("shape", [(5,), (7,), (12,), (3, 12), (7, 2)])
def test_an_unknown_field_of_the_rows_length_is_a_misfit(shape: tuple[int, ...]) -> None:
    """It may belong to the tokens, and a row whose fields disagree would break the training step."""
    assert misfits({"prompts": (5,), "novel": shape}, ROW) == ("novel",)


@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (11,)])
def test_an_unknown_field_of_another_shape_is_none(shape: tuple[int, ...]) -> None:
    """It is the same for a row of any length."""
    assert misfits({"prompts": (5,), "novel": shape}, ROW) == ()


@pytest.mark.parametrize(
    ("name", "shape"), [("prompts", (6,)), ("responses", (5,)), ("position_ids", (12, 4)), ("loss_mask", ())]
)
def test_a_known_field_without_its_length_is_a_misfit(name: str, shape: tuple[int, ...]) -> None:
    """What the table says of it is then not true of this version of verl."""
    assert misfits({name: shape}, ROW) == (name,)
