"""More kinds of word problems: stories of several operations, and problems of two steps."""

from __future__ import annotations

from collections.abc import Mapping

from tir_tools.demo.tasks.question_form import QuestionForm, between, digit_sum

_STORIES = (
    QuestionForm(
        {"a": between(10, 999), "b": between(2, 23), "c": between(2, 59)},
        lambda a, b, c: ((a * 24 + b) * 60 + c) * 60,
        "print((({a} * 24 + {b}) * 60 + {c}) * 60)",
        (
            "How many seconds are {a} days, {b} hours and {c} minutes?",
            "Convert {a} days, {b} hours and {c} minutes to seconds.",
            "A ship is at sea for {a} days, {b} hours and {c} minutes. How many seconds is that?",
            "An experiment runs for {a} days, {b} hours and {c} minutes. For how many seconds does it run?",
            "A clock ticks once a second. How often does it tick in {a} days, {b} hours and {c} minutes?",
        ),
    ),
    QuestionForm(
        {"a": between(100, 999), "b": between(23, 499), "c": between(100, 999), "d": between(500, 2_999)},
        lambda a, b, c, d: a * b + c * d,
        "print({a} * {b} + {c} * {d})",
        (
            "A shop sells {a} pens at {b} cents each and {c} books at {d} cents each. How many cents does it take in?",
            "A school buys {a} pencils at {b} cents each and {c} rulers at {d} cents each. How many cents does it pay?",
            "What do {a} apples at {b} cents each and {c} melons at {d} cents each cost together, in cents?",
            "A theatre sells {a} child tickets at {b} cents and {c} adult tickets at {d} cents. "
            "How many cents does it earn?",
            "Ben delivers {a} letters for {b} cents each and {c} parcels for {d} cents each. How many cents is that?",
        ),
    ),
    QuestionForm(
        {"a": between(1_000, 9_999), "b": between(12, 399), "c": between(1_000, 9_999)},
        lambda a, b, c: a * b - c,
        "print({a} * {b} - {c})",
        (
            "Mia saves {a} cents a week for {b} weeks and then spends {c} cents. How many cents does she have left?",
            "A farm picks {a} apples a day for {b} days and sells {c} of them. How many apples are not sold?",
            "Every day {a} litres flow into an empty lake. After {b} days {c} litres are taken out. "
            "How many litres are left?",
            "A library buys {a} books a year for {b} years and gives {c} of them away. How many of them does it keep?",
            "A machine prints {a} pages an hour for {b} hours, but {c} of the pages are bad. How many pages are good?",
        ),
    ),
)

_DIGIT_REMAINDERS = (
    QuestionForm(
        {"a": between(12, 999), "b": between(100, 599), "m": between(30, 299)},
        lambda a, b, m: digit_sum(a**b) % m,
        "s = sum(int(d) for d in str({a} ** {b}))\nprint(s % {m})",
        (
            "Let s be the digit sum of {a} to the power {b}. What is the remainder of s divided by {m}?",
            "Add up the digits of {a}^{b}. What is the remainder when the sum is divided by {m}?",
            "Find the sum of the digits of {a}**{b}, and then that sum modulo {m}. What is the result?",
            "Raise {a} to the power {b} and add up the digits of the result. "
            "What is the remainder of the sum divided by {m}?",
            "The digits of {a}^{b} are added up, and their sum is divided by {m}. What is the remainder?",
        ),
    ),
    QuestionForm(
        {"a": between(10_000, 999_999), "b": between(10_000, 999_999), "c": between(100_000, 9_999_999)},
        lambda a, b, c: c % digit_sum(a * b),
        "s = sum(int(d) for d in str({a} * {b}))\nprint({c} % s)",
        (
            "Let s be the digit sum of {a} times {b}. What is the remainder when {c} is divided by s?",
            "Multiply {a} by {b} and add up the digits of the product. What is {c} modulo that sum?",
            "Find the digit sum of {a} * {b}. How much is {c} modulo that digit sum?",
            "The size of a box is the digit sum of {a} times {b}. After packing {c} coins into full boxes, "
            "how many coins are left?",
            "Take the sum of the digits of the product of {a} and {b}. What is left over when {c} is divided by it?",
        ),
    ),
)

_SHARING = (
    QuestionForm(
        {"a": between(100, 999), "b": between(100, 999), "c": between(1_000, 9_999), "d": between(30, 299)},
        lambda a, b, c, d: (a * b - c) % d,
        "print(({a} * {b} - {c}) % {d})",
        (
            "A builder buys {a} boxes of {b} nails, uses {c} nails and divides the rest equally among {d} workers. "
            "How many nails are left over?",
            "A bakery makes {a} trays of {b} rolls, sells {c} rolls and packs the rest in bags of {d}. "
            "How many rolls are left over?",
            "A school gets {a} packs of {b} sheets and uses {c} sheets. The rest is shared equally by {d} classes. "
            "How many sheets remain?",
            "Lena has {a} albums with {b} stamps each. She sells {c} stamps and puts the rest on pages of {d} stamps. "
            "How many stamps fill no page?",
            "A farmer fills {a} crates with {b} apples each. Then {c} apples go bad, and {d} shops get equal shares "
            "of the rest. How many good apples are left?",
        ),
    ),
    QuestionForm(
        {"a": between(100, 999), "b": between(100, 999), "c": between(1_000, 9_999), "d": between(12, 99)},
        lambda a, b, c, d: (a * b - c) // d,
        "print(({a} * {b} - {c}) // {d})",
        (
            "A club orders {a} boxes of {b} balls and keeps {c} balls. The rest is shared equally by {d} teams. "
            "How many balls does each team get at most?",
            "A fund has {a} bags of {b} coins, spends {c} coins and gives equal shares of the rest to {d} families. "
            "How many whole coins does each family get?",
            "A press prints {a} rolls of {b} labels. Then {c} labels are lost, and the rest is packed in boxes of {d}. "
            "How many full boxes are there?",
            "A ship brings {a} containers of {b} tyres and unloads {c} tyres. The rest fills lorries of {d} tyres. "
            "How many lorries are full?",
            "A garden grows {a} rows of {b} plants. Then {c} plants die, and the rest is sold in trays of {d}. "
            "How many full trays are sold?",
        ),
    ),
)

STORY_KINDS: Mapping[str, tuple[QuestionForm, ...]] = {
    "stories": _STORIES,
    "digit_remainders": _DIGIT_REMAINDERS,
    "sharing": _SHARING,
}
