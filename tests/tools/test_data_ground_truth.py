"""Ground truths: lists of accepted answers, what is taken off an answer, and what is no answer at all."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from math_answers import ScoringPool, Verdict, accepted_answers, quoted_texts
from tir_tools.data.errors import RowError
from tir_tools.data.ground_truth import cleaned_answer, read_truth
from tir_tools.data.judge import PoolJudge
from tir_tools.data.mending import Remark
from tir_tools.data.rules import is_sentence
from tir_tools.evaluation.score import score_lines
from verl_tir.reward import compute_score


@pytest.fixture(scope="module")
def judge() -> Iterator[PoolJudge]:
    with PoolJudge(1, timeout=20.0) as pool:
        yield pool


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ('["(1,2)"]', ["(1,2)"]),
        ('["0.5", "\\\\frac12"]', ["0.5", r"\frac12"]),
        (' [ "1" ,\n"2" ] ', ["1", "2"]),
        ('["\\u4e2d", "a\\"b", "c\\/d"]', ["中", 'a"b', "c/d"]),
        # Against the rules of JSON, and seen: LaTeX as it is, where an escape sequence would swallow commands.
        (r'["\frac12", "\sqrt{2}", "\nu"]', [r"\frac12", r"\sqrt{2}", r"\nu"]),
        (r'["\begin{pmatrix}1\\2\end{pmatrix}"]', [r"\begin{pmatrix}1\\2\end{pmatrix}"]),
        # As Python prints it.
        (r"['$\\frac{1}{2}$', '2']", [r"$\frac{1}{2}$", "2"]),
        ("""["it's", '5']""", ["it's", "5"]),
        # These are answers themselves.
        ("[1, 2]", None),
        ("[1,2)", None),
        ("[]", None),
        ("(1,2)", None),
        ("[[1, 2], [3, 4]]", None),
        ("[f'(x), g'(x)]", None),
        ('["a", 1]', None),
        ("['a' 'b']", None),
        ('["a"', None),
        ('"a"', None),
        ("", None),
    ],
)
def test_a_list_as_text(text: str, items: list[str] | None) -> None:
    """Quotes tell a list of accepted answers from an interval, a list or a matrix that is the answer."""
    found = quoted_texts(text)
    assert (None if found is None else list(found)) == items
    assert accepted_answers(text, "row") == ([text] if items is None else items)


@pytest.mark.parametrize(
    ("ground_truth", "accepted"),
    [
        (["1", 2, 0.5], ["1", "2", "0.5"]),
        (np.array(["1", '["2", "3"]'], dtype=object), ["1", "2", "3"]),
        (np.float64(3), ["3.0"]),
        (np.int64(3), ["3"]),
        (np.array(["7"]), ["7"]),
    ],
)
def test_what_training_accepts(ground_truth: object, accepted: list[str]) -> None:
    """Lists, arrays and numbers as verl's data loader gives them."""
    assert accepted_answers(ground_truth, "row") == accepted


@pytest.mark.parametrize("missing", [float("nan"), np.float64("nan"), ["1", float("nan")], None, [], np.bool_(True)])
def test_a_missing_ground_truth_is_no_answer(missing: object) -> None:
    """NaN is what pandas writes for nothing: taken as text, the answer nan would be right."""
    with pytest.raises(TypeError, match="ground truth of row 7 must be"):
        accepted_answers(missing, "row 7")


@pytest.mark.parametrize("truth", [["0.5", r"\frac12"], '["0.5", "\\\\frac12"]', np.array(["7", "0.5"], dtype=object)])
@pytest.mark.parametrize(("answer", "score"), [("0.5", 1.0), (r"\frac{1}{2}", 1.0), ("0.25", 0.0)])
async def test_any_accepted_answer_is_right_in_training_and_in_files(truth: object, answer: str, score: float) -> None:
    """The reward function and `verl-tir score` give a list one meaning, whether it is one or is written as text."""
    response = rf"\boxed{{{answer}}}"
    assert (await compute_score("math", response, truth, timeout=20.0))["score"] == score

    async def from_a_file() -> float | None:
        plain = truth.tolist() if isinstance(truth, np.ndarray) else truth
        line = json.dumps({"response": response, "ground_truth": plain}).encode()
        pool = ScoringPool(1, 20.0, 2048)
        (scored,) = [item async for item in score_lines([line], pool)]
        await pool.aclose()
        return scored.fields["score"]

    assert await from_a_file() == score


ALONE, TEXT = Remark.ANSWER_MARKUP, Remark.ANSWER_TEXT
GSM8K = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nShe sold 48+24 = <<48+24=72>>72.\n#### "


@pytest.mark.parametrize(
    ("text", "answer", "remark", "value"),
    [
        # What is an answer stays as it is.
        ("37", "37", None, "37"),
        ("x = 37", "x = 37", None, "37"),
        ("[1, 2]", "[1, 2]", None, "[1,2]"),
        ("0.333...", "0.333...", None, "0.333..."),
        ("9 p.m.", "9 p.m.", None, "9 pm"),
        ("$1$ and $2$", "$1$ and $2$", None, "2,1"),
        (r"\$5", r"\$5", None, "5"),
        ("$5", "$5", None, "5"),
        (r"\(1\), \(2\)", r"\(1\), \(2\)", None, "2,1"),
        (r"n=3k \text{ for an integer } k", r"n=3k \text{ for an integer } k", None, None),
        ("no real solutions", "no real solutions", None, None),
        # What sets it goes.
        ("37.", "37", ALONE, "37"),
        ("$37$", "37", ALONE, "37"),
        ("$$37$$.", "37", ALONE, "37"),
        (r"\(37\)", "37", ALONE, "37"),
        (r"\[37\]", "37", ALONE, "37"),
        ("**37**", "37", ALONE, "37"),
        ("`37`", "37", ALONE, "37"),
        ('"37"', "37", ALONE, "37"),
        ("= 37", "37", ALONE, "37"),
        ("<answer> 37 </answer>", "37", ALONE, "37"),
        (r"\boxed{37}", "37", ALONE, "37"),
        (r"$\boxed{\frac{1}{2}}$.", r"\frac{1}{2}", ALONE, "0.5"),
        (r"$\$4813.24$", r"\$4813.24", ALONE, "4813.24"),
        (r"7\text{ hours}.", r"7\text{ hours}", ALONE, "7"),
        # What says that it is the answer goes.
        ("The answer is 37.", "37", TEXT, "37"),
        ("THE ANSWER IS 37", "37", TEXT, "37"),
        ("Answer: 37", "37", TEXT, "37"),
        ("Answer = $37$", "37", TEXT, "37"),
        ("ans: 37", "37", TEXT, "37"),
        ("**Final Answer:** 37", "37", TEXT, "37"),
        ("So the final answer is: **37**.", "37", TEXT, "37"),
        ("The result is $x=37$.", "x=37", TEXT, "37"),
        ("The answer is $18.", "$18", TEXT, "18"),
        (r"The answer is $\$18$.", r"\$18", TEXT, "18"),
        ("The answer is [1, 2).", "[1, 2)", TEXT, "1 <= x < 2"),
        ("We add 3+34=37. Therefore, the answer is 37.", "37", TEXT, "37"),
        (r"The answer is $\boxed{37}$. I hope it is correct.", "37", TEXT, "37"),
        ("答案是37。", "37", TEXT, "37"),
        # GSM8K
        (f"{GSM8K}72", "72", TEXT, "72"),
        (f"{GSM8K}1,234", "1,234", TEXT, "1234"),
        (f"{GSM8K}-5\n", "-5", TEXT, "-5"),
        (f"{GSM8K}$1,234.50", "$1,234.50", TEXT, "1234.5"),
        (f"{GSM8K}72.", "72", TEXT, "72"),
        ("48/2 = <<48/2=24>>24 ... #### 72", "72", TEXT, "72"),
        ("#### 72", "72", TEXT, "72"),
    ],
)
def test_what_is_taken_off_an_answer(
    judge: PoolJudge, text: str, answer: str, remark: Remark | None, value: str | None
) -> None:
    """What is left is the answer, reads as one, and is what the scorer takes for the value."""
    assert cleaned_answer(text) == (answer, remark)
    assert not is_sentence(answer)
    assert judge.readable([answer]) == [Verdict.CORRECT]
    if value is not None:
        assert judge.equal([(value, [answer])]) == [Verdict.CORRECT]


@pytest.mark.parametrize(
    "text",
    [
        "The sequence is convergent.",
        "There are 37 of them",
        "37 because it is prime",
        "The answer is 37 because it is prime.",
        "The answer is 10 and the remainder is 3.",
        "The answer is not 5.",
        "Answer: 37\nExplanation: add.",
        r"\text{The answer is }5",
        "We compute. Then double it to get 14.",
        "This shows that the solution is complete.",
        "#### Step 1\nWe add.\n#### Conclusion",
        "#### Step 1\nWe add.\n#### Answer\n42",
        "approximately 37",
        "at least 5",
    ],
)
def test_what_is_no_answer(text: str) -> None:
    """Of a sentence that says more than a value nothing is guessed: the rule finds it."""
    assert is_sentence(cleaned_answer(text)[0])


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "no real solutions",
        "all real numbers",
        "October 30",
        "10 square units",
        "Evelyn Smith",
        "no such number exists",
        r"\text{The set of all } x \text{ such that } x \text{ is even and is not prime}",
        r"\begin{cases} n/2 & \text{if } n \text{ is even}\\ n & \text{if } n \text{ is odd}\end{cases}",
        r"\sin x \cos x \tan x \log x \arctan x \operatorname{lcm} x",
        "solution set",
    ],
)
def test_what_is_no_sentence(text: str) -> None:
    """Words, units, and words within a formula are answers."""
    assert not is_sentence(text)


@pytest.mark.parametrize(
    ("value", "answers", "remarks"),
    [
        (["0.5", r"$\frac12$"], ("0.5", r"\frac12"), {Remark.ANSWER_MARKUP, Remark.SEVERAL_ANSWERS}),
        ('["(1,2)"]', ("(1,2)",), {Remark.ANSWER_LIST}),
        (['["1"]', "The answer is 2."], ("1", "2"), {Remark.ANSWER_LIST, Remark.ANSWER_TEXT, Remark.SEVERAL_ANSWERS}),
        (["1", " 1 ", ""], ("1",), set()),
        ([7], ("7",), set()),
        ([None], (), set()),
        ("", (), set()),
        (" \n", (), set()),
        (float("nan"), (), set()),
    ],
)
def test_what_a_row_says(value: object, answers: tuple[str, ...], remarks: set[Remark]) -> None:
    """Each text is cleaned, each answer counts once, and all that was done is noted."""
    truth = read_truth(value, "f.json, row 1, column answer")
    assert truth.answers == answers
    assert {note.remark for note in truth.notes} == remarks


@pytest.mark.parametrize("value", [[1, 2], ["1", None], [["1", "2"]], [True], False, {"a": 1}])
def test_what_could_be_one_answer_or_several_is_refused(value: object) -> None:
    """Nobody can tell whether a list of numbers is one answer; the message says how to write either."""
    hint = "write accepted answers as texts" if isinstance(value, list) and len(value) > 1 else "f.json, row 1"
    with pytest.raises(RowError, match=hint):
        read_truth(value, "f.json, row 1, column answer")
