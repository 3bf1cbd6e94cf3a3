"""Word problems: right answers, splits that share neither numbers nor phrasings, short questions, nothing to guess."""

from __future__ import annotations

import contextlib
import io
import re
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from random import Random
from string import Formatter

import pytest

from tir_tools.demo.summary import success_by_kind
from tir_tools.demo.tasks.data import verl_row
from tir_tools.demo.tasks.question_form import QuestionForm, is_held_out
from tir_tools.demo.tasks.word_problems import KINDS, WordProblemSplits, word_problem_splits

FORMS = [(kind, number, form) for kind, forms in KINDS.items() for number, form in enumerate(forms)]

PROGRAMS = {
    ("products", 0): "print(sum([a] * b))",
    ("products", 1): "print(sum([a * c] * b))",
    ("remainders", 0): "print(divmod(a, b)[1])",
    ("powers", 0): "x = 1\nfor _ in range(b): x = x * a % m\nprint(x)",
    ("sums", 0): "print((b - a + 1) * (a + b) // 2)",
    ("sums", 1): "f = lambda n: n * (n + 1) * (2 * n + 1) // 6\nprint(f(b) - f(a - 1))",
    ("sums", 2): "print(m * sum(range(-(-a // m), b // m + 1)))",
    ("counting", 0): "print(len([n for n in range(a, b + 1) if not n % d]))",
    ("counting", 1): "print(len([n for n in range(a, b + 1) if d in map(int, [*str(n)])]))",
    ("digit_sums", 0): "x, s = a * b, 0\nwhile x: x, r = divmod(x, 10); s += r\nprint(s)",
    ("digit_sums", 1): "x, s = a ** b, 0\nwhile x: x, r = divmod(x, 10); s += r\nprint(s)",
    ("factorials", 0): "s, q = 0, 5\nwhile q <= n: s += n // q; q *= 5\nprint(s)",
    ("factorials", 1): "import math\nprint(1 + int(sum(map(math.log10, range(1, n + 1)))))",
    ("factorials", 2): "x = 1\nfor k in range(2, n + 1): x = x * k % p\nprint(x)",
    ("dates", 0): "print(b.toordinal() - a.toordinal())",
    ("dates", 1): "print((366 if a.year % 4 == 0 else 365) - a.timetuple().tm_yday)",
    ("dates", 2): "from datetime import timedelta\nprint((a + timedelta(days=n)).year)",
    ("stories", 0): "from datetime import timedelta\nprint(int(timedelta(days=a, hours=b, minutes=c).total_seconds()))",
    ("stories", 1): "print(sum([b] * a) + sum([d] * c))",
    ("stories", 2): "print(sum([a] * b) - c)",
    ("digit_remainders", 0): "x, s = a ** b, 0\nwhile x: x, r = divmod(x, 10); s += r\nprint(divmod(s, m)[1])",
    ("digit_remainders", 1): "x, s = a * b, 0\nwhile x: x, r = divmod(x, 10); s += r\nprint(divmod(c, s)[1])",
    ("sharing", 0): "x = a * b - c\nprint(x - x // d * d)",
    ("sharing", 1): "x, n = a * b - c, 0\nwhile x >= d: x -= d; n += 1\nprint(n)",
}
"""Another way to each answer than the one in the project: what a model may write."""


def printed(program: str, **operands: object) -> str:
    """What a program prints."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        exec(program, dict(operands))
    return stdout.getvalue()


@pytest.fixture(scope="module")
def splits() -> WordProblemSplits:
    """As large as in training."""
    return word_problem_splits(0, train=4_000, val=220, val_phrasings=220)


@pytest.mark.parametrize(("kind", "number", "form"), FORMS, ids=lambda value: value if isinstance(value, str) else None)
@pytest.mark.parametrize("held_out", [False, True])
def test_answers_are_those_of_another_program(kind: str, number: int, form: QuestionForm, held_out: bool) -> None:
    """What a program prints for the same operands, drawn and at both ends of their ranges."""
    rng = Random(5)
    ends = [{name: values[end] for name, values in form.operands.items()} for end in (0, -1)]
    for operands in [*ends, *(form.draw(rng, held_out=held_out) for _ in range(20))]:
        assert printed(PROGRAMS[kind, number], **operands) == f"{form.answer(**operands)}\n", operands
        assert printed(form.program.format(**operands)) == f"{form.answer(**operands)}\n", operands


READ = {
    r"What is (\d+) times (\d+)\?": lambda a, b: a * b,
    r"Each of (\d+) trucks carries (\d+) bricks. .*in all\?": lambda a, b: a * b,
    r"What is the remainder when (\d+) is divided by (\d+)\?": lambda a, b: a % b,
    r"Find the remainder of (\d+)\^(\d+) divided by (\d+)\.": lambda a, b, m: a**b % m,
    r"Find the total of the numbers from (\d+) to (\d+) that (\d+) divides\.": lambda a, b, m: sum(
        n for n in range(a, b + 1) if n % m == 0
    ),
    r"A hotel has rooms numbered from (\d+) to (\d+). How many room numbers contain the digit (\d)\?": lambda a, b, d: (
        sum(str(d) in str(n) for n in range(a, b + 1))
    ),
    r"What is the sum of the digits of (\d+)\^(\d+)\?": lambda a, b: sum(map(int, str(a**b))),
    r"A theatre sells (\d+) .* at (\d+) cents and (\d+) .* at (\d+) cents. .*": lambda a, b, c, d: a * b + c * d,
    r"Mia saves (\d+) cents a week for (\d+) weeks and then spends (\d+) cents. .*": lambda a, b, c: a * b - c,
    r"Multiply (\d+) by (\d+) and add .* What is (\d+) modulo that sum\?": lambda a, b, c: (
        c % sum(map(int, str(a * b)))
    ),
    r"A builder buys (\d+) boxes of (\d+) nails, uses (\d+) .* (\d+) workers. .* left over\?": lambda a, b, c, d: (
        (a * b - c) % d
    ),
}
"""Questions as a reader takes them."""


@pytest.mark.parametrize("pattern", READ)
def test_answers_are_those_of_the_words(pattern: str, splits: WordProblemSplits) -> None:
    """The numbers stand in the questions where the answer takes them from."""
    found = [(p, match) for p in (*splits.train, *splits.val_phrasings) if (match := re.fullmatch(pattern, p.question))]
    assert len(found) >= 5
    for problem, match in found:
        assert problem.answer == str(READ[pattern](*map(int, match.groups())))


def test_wordings_have_every_operand_and_no_other_figure() -> None:
    """So that what is said of operands holds for all numbers in a question; and no wording stands twice."""
    for kind, forms in KINDS.items():
        assert sum(len(form.phrasings) for form in forms) >= 5
        for form in forms:
            assert len(form.phrasings) >= 5
            assert form.trained + form.held_out == form.phrasings
            assert len(form.held_out) == (2 if len(form.phrasings) > 5 else 1)
            for phrasing in form.phrasings:
                fields = {re.split(r"\.", name)[0] for _, name, _, _ in Formatter().parse(phrasing) if name}
                assert fields == form.operands.keys(), (kind, phrasing)
                assert not re.search(r"\d", phrasing), phrasing
    every = [phrasing for _, _, form in FORMS for phrasing in form.phrasings]
    assert len(set(every)) == len(every) > 100


_MONTH = r"(January|February|March|April|May|June|July|August|September|October|November|December)"
_DATE = re.compile(rf"\d{{4}}-\d\d-\d\d|{_MONTH} \d+, \d{{4}}|\d+ {_MONTH} \d{{4}}")


def operands_in(question: str) -> set[int | date]:
    """All numbers, and whole dates instead of their parts."""

    def read(text: str) -> date:
        written = "%Y-%m-%d" if text[0].isdigit() and "-" in text else "%B %d, %Y" if "," in text else "%d %B %Y"
        return datetime.strptime(text, written).date()

    dates = {read(found[0]) for found in _DATE.finditer(question)}
    return dates | set(map(int, re.findall(r"\d+", _DATE.sub("", question))))


def test_held_out_problems_share_no_number_with_training(splits: WordProblemSplits) -> None:
    """No number and no date of a held-out question stands in any training question."""
    trained = {operand for problem in splits.train for operand in operands_in(problem.question)}
    held_out = {operand for p in (*splits.val, *splits.val_phrasings) for operand in operands_in(p.question)}
    assert not trained & held_out
    assert len(trained) > 3_000
    assert len(held_out) > 500
    assert not any(map(is_held_out, trained))


def test_every_range_has_numbers_for_both_parts() -> None:
    """About three in training to one held out, also where there are few: nine digits leave two."""
    for kind, _, form in FORMS:
        for name, values in form.operands.items():
            held_out = sum(map(is_held_out, values[:20_000]))
            assert held_out >= 2, (kind, name)
            assert 0.2 < held_out / len(values[:20_000]) < 0.31, (kind, name)


def test_last_digits_are_held_out_alike() -> None:
    """The rule leaves no part without odd numbers, or without fives."""
    counts = Counter(n % 10 for n in range(10_000) if is_held_out(n))
    assert min(counts.values()) > 240
    assert sum(counts.values()) == pytest.approx(2_500, abs=10)


def words(question: str) -> str:
    """A question without its numbers and dates."""
    return re.sub(_MONTH, "", _DATE.sub("", question)).translate({ord(d): None for d in "0123456789"})


def test_phrasings_are_those_of_the_split(splits: WordProblemSplits) -> None:
    """Only the last split has new words; in it, every question has them, and all held-out phrasings occur."""
    trained, val, new = (
        {words(problem.question) for problem in part} for part in (splits.train, splits.val, splits.val_phrasings)
    )
    assert val <= trained
    assert not new & trained
    assert len(new) == sum(len(form.held_out) for _, _, form in FORMS)
    assert {p.data_source for p in splits.val} == set(KINDS) == {p.data_source for p in splits.train}
    assert {p.data_source for p in splits.val_phrasings} == {f"{kind}, new words" for kind in KINDS}


def test_an_example_is_solved_by_the_question_s_program(splits: WordProblemSplits) -> None:
    """With numbers and words of training in every split, and with another answer."""
    trained = {(problem.kind, words(problem.question)) for problem in splits.train}
    for problem in (*splits.train[:440], *splits.val, *splits.val_phrasings):
        example = problem.example
        assert printed(example.program) == f"{example.output}\n"
        assert example.output != problem.answer
        assert (problem.kind, words(example.question)) in trained
        assert not any(map(is_held_out, operands_in(example.question)))
        (form,) = [f for f in KINDS[problem.kind] if any(_is_wording(p, problem.question) for p in f.phrasings)]
        assert any(_is_wording(phrasing, example.question) for phrasing in form.trained)


def _is_wording(phrasing: str, question: str) -> bool:
    """Whether a question has a phrasing, with any operands."""
    parts = [re.escape(text) for text, *_ in Formatter().parse(phrasing)]
    return re.fullmatch("[\\w-]+".join(parts) + r"[\w-]*", question) is not None


def test_an_example_depends_on_nothing_but_its_problem() -> None:
    """The same problem has the same one whatever other kinds and problems there are, and they differ."""
    alone = word_problem_splits(3, train=24, val=0, val_phrasings=0, kinds=["sums", "dates"]).train
    more = word_problem_splits(3, train=96, val=0, val_phrasings=0, kinds=["dates", "sums", "powers"]).train
    assert set(alone) <= set(more)
    assert len({problem.example for problem in alone}) == len(alone)


def test_all_kinds_are_in_each_split_evenly(splits: WordProblemSplits) -> None:
    """And no question stands twice."""
    for part in (splits.train, splits.val, splits.val_phrasings):
        counts = Counter(problem.kind for problem in part)
        assert set(counts) == set(KINDS)
        assert max(counts.values()) - min(counts.values()) <= 1
    every = [p.question for p in (*splits.train, *splits.val, *splits.val_phrasings)]
    assert len(set(every)) == len(every) == 4_440


def test_seeds_reproduce_and_differ() -> None:
    """The same seed gives the same; another one hardly any problem of it."""
    first = word_problem_splits(3, train=220, val=55, val_phrasings=55)
    assert first == word_problem_splits(3, train=220, val=55, val_phrasings=55)
    longer = word_problem_splits(3, train=440, val=55, val_phrasings=55)
    assert longer.train[:220] == first.train
    other = word_problem_splits(4, train=220, val=55, val_phrasings=55)
    assert len(set(first.train) & set(other.train)) < 5
    assert len(set(first.val) & set(other.val)) < 3


def test_a_caller_may_choose_kinds(splits: WordProblemSplits) -> None:
    """Their problems are the same as among all kinds, and the order is the caller's."""
    chosen = word_problem_splits(0, train=600, val=40, val_phrasings=40, kinds=("sharing", "products"))
    assert [problem.kind for problem in chosen.train[:4]] == ["sharing", "products"] * 2
    for kind in ("sharing", "products"):
        of_kind = [problem for problem in splits.train if problem.kind == kind]
        assert [problem for problem in chosen.train if problem.kind == kind] == of_kind[:300]


@pytest.mark.parametrize(
    ("kinds", "message"), [(("sums", "sum"), "sums, sum: choose from products,"), ((), "none: choose")]
)
def test_unknown_kinds_are_named(kinds: tuple[str, ...], message: str) -> None:
    """With those that there are."""
    with pytest.raises(ValueError, match=message):
        word_problem_splits(0, train=1, val=1, val_phrasings=1, kinds=kinds)


def test_more_problems_than_exist_are_refused() -> None:
    """There is no endless search for another question."""
    with pytest.raises(ValueError, match=r"hardly more than \d+ problems like '.+!.*' exist"):
        word_problem_splits(0, train=1, val=1, val_phrasings=3_000, kinds=["factorials"])


def test_questions_are_short_and_answers_have_one_form(splits: WordProblemSplits) -> None:
    """Within the room that the demo leaves for them; an answer is an integer without a sign or leading zero."""
    for problem in (*splits.train, *splits.val, *splits.val_phrasings):
        assert len(problem.question.split()) <= 45
        # As a tokenizer with a token for each digit has it.
        assert len(re.findall(r"\d|[^\W\d]+|[^\w\s]", problem.question)) <= 64
        assert re.fullmatch(r"0|[1-9]\d{0,11}", problem.answer)


def test_no_answer_is_worth_a_guess(splits: WordProblemSplits) -> None:
    """The most frequent one of a kind is right in a few percent of its problems."""
    for kind in KINDS:
        answers = Counter(problem.answer for problem in splits.train if problem.kind == kind)
        assert answers.most_common(1)[0][1] / answers.total() < 0.05, kind


def test_the_documents_table_is_that_of_the_kinds() -> None:
    """Each kind with a question in one of its phrasings, and the number of all phrasings."""
    text = (Path(__file__).parents[2] / "docs/demo.md").read_text(encoding="utf-8")
    section = text.partition("## Problems for a real model\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", section, re.MULTILINE))
    assert list(rows) == list(KINDS)
    for kind, question in rows.items():
        phrasings = [phrasing for form in KINDS[kind] for phrasing in form.phrasings]
        patterns = [re.sub(r"\\\{[^}]*\}", r"[\\w-]+", re.escape(phrasing)) for phrasing in phrasings]
        assert any(re.fullmatch(pattern, question.replace("\\", "")) for pattern in patterns), question
    assert f"{sum(len(form.phrasings) for _, _, form in FORMS)} in all" in section


def test_rows_are_verls_and_the_summary_reads_their_kinds() -> None:
    """New words have a data source of their own."""
    problem = word_problem_splits(0, train=0, val=0, val_phrasings=1).val_phrasings[0]
    row = verl_row(problem, 3, "val")
    assert row["data_source"] == "products, new words"
    assert row["prompt"] == [{"role": "user", "content": problem.question}]
    assert row["reward_model"] == {"style": "rule", "ground_truth": problem.answer}
    logged = {f"val-aux/{row['data_source']}/correct/mean@1": 0.5, "val-aux/products/correct/mean@1": 1.0}
    assert success_by_kind(logged) == {"products, new words": 0.5, "products": 1.0}
