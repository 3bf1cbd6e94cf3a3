r"""The kinds of word problems: what is asked for, of which operands, in which words, and what is right.

A short program solves each, and a small model does not in its head: operands are too large, and no answer is frequent
enough for a guess to pay. All intermediate numbers stay below the 4,300 digits that Python writes out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date

from tir_tools.demo.tasks.question_form import QuestionForm, between, days_of_years, digit_sum, primes_between


def _trailing_zeros(number: int) -> int:
    text = str(number)
    return len(text) - len(text.rstrip("0"))


_PRODUCTS = (
    QuestionForm(
        {"a": between(1_000, 99_999), "b": between(100, 9_999)},
        lambda a, b: a * b,
        "print({a} * {b})",
        (
            "What is {a} times {b}?",
            "Multiply {a} by {b}.",
            "Find the product of {a} and {b}.",
            "A box holds {a} nails. How many nails are in {b} boxes?",
            "A factory makes {a} screws a day. How many screws does it make in {b} days?",
            "How much is {b} multiplied by {a}?",
            "Each of {b} trucks carries {a} bricks. How many bricks do they carry in all?",
        ),
    ),
    QuestionForm(
        {"a": between(100, 999), "b": between(100, 999), "c": between(23, 299)},
        lambda a, b, c: a * b * c,
        "print({a} * {b} * {c})",
        (
            "What is {a} times {b} times {c}?",
            "What is the product of {a}, {b} and {c}?",
            "A tank is {a} cm long, {b} cm wide and {c} cm high. What is its volume in cubic centimetres?",
            "A store has {a} shelves with {b} boxes each, and each box holds {c} bottles. How many bottles are there?",
            "In {a} schools with {b} pupils each, every pupil reads {c} pages. How many pages are read in all?",
        ),
    ),
)

_REMAINDERS = (
    QuestionForm(
        {"a": between(1_000_000, 99_999_999), "b": between(23, 999)},
        lambda a, b: a % b,
        "print({a} % {b})",
        (
            "What is the remainder when {a} is divided by {b}?",
            "Divide {a} by {b}. What is the remainder?",
            "Find {a} modulo {b}.",
            "A farm packs {a} eggs into cartons of {b}. How many eggs are left over?",
            "A printer ships {a} books in crates of {b}. After all full crates, how many books remain?",
            "How much is {a} mod {b}?",
            "You put {a} coins into piles of {b} until you cannot fill another pile. How many coins are left?",
        ),
    ),
)

_POWERS = (
    QuestionForm(
        {"a": between(100, 9_999), "b": between(50, 999), "m": between(101, 9_999)},
        lambda a, b, m: pow(a, b, m),
        "print(pow({a}, {b}, {m}))",
        (
            "What is the remainder when {a} to the power {b} is divided by {m}?",
            "Find the remainder of {a}^{b} divided by {m}.",
            "Compute {a}**{b} modulo {m}.",
            "Raise {a} to the power {b} and divide the result by {m}. What is the remainder?",
            "A count starts at one and is multiplied by {a} in each of {b} steps. "
            "What is the remainder of the last count divided by {m}?",
            "Let n = {a}^{b}. What remainder does n leave when it is divided by {m}?",
            "The number {a} is multiplied by itself until there are {b} factors. What is the product modulo {m}?",
        ),
    ),
)

_SUMS = (
    QuestionForm(
        {"a": between(10, 999), "b": between(1_000, 49_999)},
        lambda a, b: sum(range(a, b + 1)),
        "print(sum(n for n in range({a}, {b} + 1)))",
        (
            "What is the sum of the integers from {a} to {b}?",
            "Add up all whole numbers from {a} to {b}. What is the total?",
            "What do you get when you add all integers from {a} up to and including {b}?",
            "Ida saves {a} cents on the first day and one cent more each day, until {b} cents on the last day. "
            "How many cents does she save in all?",
            "Find the total of all the integers between {a} and {b}, both included.",
        ),
    ),
    QuestionForm(
        {"a": between(2, 99), "b": between(100, 1_999)},
        lambda a, b: sum(n * n for n in range(a, b + 1)),
        "print(sum(n * n for n in range({a}, {b} + 1)))",
        (
            "What is the sum of the squares of the integers from {a} to {b}?",
            "Square every integer from {a} to {b} and add up the results. What is the sum?",
            "Find the sum of n*n for all integers n from {a} to {b}.",
            "There is one square garden for each side length in whole metres from {a} to {b}. "
            "What is their total area in square metres?",
            "Add the squares of all whole numbers from {a} through {b}. What is the result?",
        ),
    ),
    QuestionForm(
        {"m": between(3, 97), "a": between(100, 999), "b": between(2_000, 29_999)},
        lambda m, a, b: sum(n for n in range(a, b + 1) if n % m == 0),
        "print(sum(n for n in range({a}, {b} + 1) if n % {m} == 0))",
        (
            "What is the sum of all multiples of {m} from {a} to {b}?",
            "Add up all integers from {a} to {b} that are divisible by {m}. What is the sum?",
            "Find the total of the numbers from {a} to {b} that {m} divides.",
            "Houses are numbered from {a} to {b}. What is the sum of all house numbers that are multiples of {m}?",
            "Of the integers from {a} to {b}, add those that leave no remainder when divided by {m}. What do you get?",
        ),
    ),
)

_COUNTING = (
    QuestionForm(
        {"a": between(100, 9_999), "b": between(20_000, 99_999), "d": between(3, 97)},
        lambda a, b, d: b // d - (a - 1) // d,
        "print(sum(1 for n in range({a}, {b} + 1) if n % {d} == 0))",
        (
            "How many integers from {a} to {b} are divisible by {d}?",
            "Count the multiples of {d} from {a} to {b}. How many are there?",
            "How many numbers from {a} to {b} can be divided by {d} without a remainder?",
            "Tickets are numbered from {a} to {b}, and those with a multiple of {d} win. How many tickets win?",
            "In the list of integers from {a} to {b}, how many are multiples of {d}?",
        ),
    ),
    QuestionForm(
        {"a": between(100, 4_999), "b": between(10_000, 49_999), "d": between(1, 9)},
        lambda a, b, d: sum(str(d) in str(n) for n in range(a, b + 1)),
        'print(sum(1 for n in range({a}, {b} + 1) if "{d}" in str(n)))',
        (
            "How many integers from {a} to {b} contain the digit {d}?",
            "How many numbers from {a} to {b} have at least one digit {d}?",
            "Count the integers from {a} to {b} in which the digit {d} appears. How many are there?",
            "A hotel has rooms numbered from {a} to {b}. How many room numbers contain the digit {d}?",
            "In how many of the integers from {a} to {b} does the digit {d} occur?",
        ),
    ),
)

_DIGIT_SUMS = (
    QuestionForm(
        {"a": between(10_000_000, 999_999_999), "b": between(10_000_000, 999_999_999)},
        lambda a, b: digit_sum(a * b),
        "print(sum(int(d) for d in str({a} * {b})))",
        (
            "What is the sum of the digits of {a} times {b}?",
            "Multiply {a} by {b} and add up the digits of the result. What do you get?",
            "Find the digit sum of {a} * {b}.",
            "A code is the product of {a} and {b}. What do the digits of the code add up to?",
            "The product of {a} and {b} is written on a wall. What is the sum of all its digits?",
        ),
    ),
    QuestionForm(
        {"a": between(12, 999), "b": between(60, 599)},
        lambda a, b: digit_sum(a**b),
        "print(sum(int(d) for d in str({a} ** {b})))",
        (
            "What is the digit sum of {a} to the power {b}?",
            "What is the sum of the digits of {a}^{b}?",
            "Raise {a} to the power {b} and add up all digits of the result. What is the sum?",
            "Compute {a}**{b}. What do its digits add up to?",
            "The number {a}^{b} is written out in full. What is the sum of its digits?",
        ),
    ),
)

_FACTORIALS = (
    QuestionForm(
        {"n": between(100, 1_499)},
        lambda n: _trailing_zeros(math.factorial(n)),
        'import math\ndigits = str(math.factorial({n}))\nprint(len(digits) - len(digits.rstrip("0")))',
        (
            "How many trailing zeros does {n}! have?",
            "How many zeros does the factorial of {n} end with?",
            "Compute {n} factorial. How many zeros are at its end?",
            "All integers from one to {n} are multiplied together. How many zeros does the product end with?",
            "The number {n}! is written out in full. How many zeros come after its last digit that is not zero?",
        ),
    ),
    QuestionForm(
        {"n": between(100, 1_499)},
        lambda n: len(str(math.factorial(n))),
        "import math\nprint(len(str(math.factorial({n}))))",
        (
            "How many digits does {n}! have?",
            "How many digits are in the factorial of {n}?",
            "Compute {n} factorial. How many digits long is it?",
            "All integers from one to {n} are multiplied together. How many digits does the product have?",
            "To write out {n} factorial in full, how many digits do you need?",
        ),
    ),
    QuestionForm(
        # A prime, since a product of many numbers is a multiple of nearly everything else.
        {"n": between(20, 199), "p": primes_between(211, 9_999)},
        lambda n, p: math.factorial(n) % p,
        "import math\nprint(math.factorial({n}) % {p})",
        (
            "What is the remainder when {n}! is divided by {p}?",
            "Find {n} factorial modulo {p}.",
            "Divide the factorial of {n} by {p}. What is the remainder?",
            "All integers from one to {n} are multiplied together. What is the product modulo {p}?",
            "What is left over when {n} factorial is divided by {p}?",
        ),
    ),
)

_DATES = (
    QuestionForm(
        {"a": days_of_years(1950, 1989), "b": days_of_years(1990, 2029)},
        lambda a, b: (b - a).days,
        "from datetime import date\n"
        "print((date({b.year}, {b.month}, {b.day}) - date({a.year}, {a.month}, {a.day})).days)",
        (
            "How many days are there from {a} to {b}?",
            "How many days after {a:%B} {a.day}, {a.year} is {b:%B} {b.day}, {b.year}?",
            "Nora was born on {a.day} {a:%B} {a.year}. How many days old is she on {b.day} {b:%B} {b.year}?",
            "A bridge was opened on {a} and closed on {b}. How many days after its opening was it closed?",
            "How many days pass from {a.day} {a:%B} {a.year} until {b.day} {b:%B} {b.year}?",
        ),
    ),
    QuestionForm(
        {"a": days_of_years(1950, 2029)},
        lambda a: (date(a.year, 12, 31) - a).days,
        "from datetime import date\nprint((date({a.year}, 12, 31) - date({a.year}, {a.month}, {a.day})).days)",
        (
            "How many days of its year are left after {a}?",
            "How many days after {a:%B} {a.day}, {a.year} does that year end?",
            "How many days is it from {a.day} {a:%B} {a.year} to the last day of that year?",
            "Tom signs a contract on {a}. It ends on the last day of that year. How many days after signing is that?",
            "Today is {a:%B} {a.day}, {a.year}. In how many days is the last day of this year?",
        ),
    ),
    QuestionForm(
        {"a": days_of_years(1950, 1999), "n": between(3_000, 19_999)},
        lambda a, n: date.fromordinal(a.toordinal() + n).year,
        "from datetime import date, timedelta\nprint((date({a.year}, {a.month}, {a.day}) + timedelta(days={n})).year)",
        (
            "What year is it {n} days after {a}?",
            "In which year is the day that comes {n} days after {a.day} {a:%B} {a.year}?",
            "Start on {a:%B} {a.day}, {a.year} and go {n} days forward. Which year is it then?",
            "A satellite is launched on {a} and works for {n} days. In which year does it stop working?",
            "Add {n} days to {a:%B} {a.day}, {a.year}. What is the year of the new date?",
        ),
    ),
)

WORD_KINDS: Mapping[str, tuple[QuestionForm, ...]] = {
    "products": _PRODUCTS,
    "remainders": _REMAINDERS,
    "powers": _POWERS,
    "sums": _SUMS,
    "counting": _COUNTING,
    "digit_sums": _DIGIT_SUMS,
    "factorials": _FACTORIALS,
    "dates": _DATES,
}
"""Those of one step that are no stories."""
