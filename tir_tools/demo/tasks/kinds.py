"""The kinds of problems, a function each, which makes a problem of random numbers.

Numbers of up to three digits are one token of the tiny model, so most operands have no more. What is printed has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random


@dataclass(frozen=True, slots=True)
class DemoProgram:
    """A program, and what comes of it, known without running it."""

    code: str
    stdout: str = ""
    error: str = ""
    """The last line of stderr of a program that fails; empty for one that succeeds."""


@dataclass(frozen=True, slots=True)
class DemoProblem:
    """A question in words, its answer, and ways to it."""

    kind: str
    """Name of its kind."""
    question: str
    answer: str
    solution: tuple[DemoProgram, ...]
    """One for each tool turn; the last one prints the answer."""
    mistake: DemoProgram
    """In the place of the first of the solution: it runs, and what it prints is not the answer."""

    @property
    def data_source(self) -> str:
        """verl's, so that validation shows the success of each kind."""
        return self.kind


Kind = Callable[[Random], DemoProblem]


def arithmetic(rng: Random) -> DemoProblem:
    """Three operands, the largest of two to four digits."""
    low, high = rng.choice([(10, 99), (100, 999), (1_000, 9_999)])
    a, b, c = rng.randint(low, high), rng.randint(10, 999), rng.randint(10, 99)
    sign = rng.choice("+-")
    expression = f"{a}*{b}{sign}{c}"
    return _one_program(
        "arithmetic",
        f"What is {expression}?",
        f"print({expression})",
        a * b + c if sign == "+" else a * b - c,
        mistake=DemoProgram(f"print({a}*{b})", f"{a * b}\n"),
    )


def powers(rng: Random) -> DemoProblem:
    """A modular power."""
    base, exponent, modulus = rng.randint(100, 999), rng.randint(100, 999), rng.randint(100, 999)
    return _one_program(
        "powers",
        f"What is the remainder of {base} to the power {exponent} divided by {modulus}?",
        f"print(pow({base},{exponent},{modulus}))",
        pow(base, exponent, modulus),
        mistake=DemoProgram(f"print({base}*{exponent}%{modulus})", f"{base * exponent % modulus}\n"),
    )


def counting(rng: Random) -> DemoProblem:
    """Numbers of a range that a divisor divides."""
    start, stop, divisor = rng.randint(100, 499), rng.randint(500, 999), rng.randint(3, 29)
    return _one_program(
        "counting",
        f"How many integers from {start} to {stop} are divisible by {divisor}?",
        f"print(sum(n%{divisor}==0 for n in range({start},{stop}+1)))",
        sum(n % divisor == 0 for n in range(start, stop + 1)),
        mistake=DemoProgram(f"print({stop}-{start})", f"{stop - start}\n"),
    )


def sums(rng: Random) -> DemoProblem:
    """Squares or cubes of a range, added up."""
    start, stop = rng.randint(2, 29), rng.randint(30, 99)
    word, power = rng.choice([("squares", 2), ("cubes", 3)])
    values = [n**power for n in range(start, stop + 1)]
    return _one_program(
        "sums",
        f"What is the sum of the {word} from {start} to {stop}?",
        f"print(sum(n**{power} for n in range({start},{stop}+1)))",
        sum(values),
        mistake=DemoProgram(f"print(sum(n**{power} for n in range({start},{stop})))", f"{sum(values[:-1])}\n"),
    )


def equations(rng: Random) -> DemoProblem:
    """Two linear equations with two unknowns."""
    x, y = rng.randint(200, 499), rng.randint(10, 199)
    total, difference = x + y, x - y
    return _one_program(
        "equations",
        f"If x + y = {total} and x - y = {difference}, what is x * y?",
        f"x=({total}+{difference})//2\ny={total}-x\nprint(x*y)",
        x * y,
        mistake=DemoProgram(f"print({total}*{difference})", f"{total * difference}\n"),
    )


def units(rng: Random) -> DemoProblem:
    """Days, hours and minutes in minutes."""
    days, hours, minutes = rng.randint(2, 99), rng.randint(2, 23), rng.randint(2, 59)
    value = days * 1440 + hours * 60 + minutes
    return _one_program(
        "units",
        f"How many minutes are {days} days, {hours} hours and {minutes} minutes?",
        f"print({days}*24*60+{hours}*60+{minutes})",
        value,
        mistake=DemoProgram(f"print({days}*24*60+{hours}*60)", f"{value - minutes}\n"),
    )


def dates(rng: Random) -> DemoProblem:
    """Days from one date to another."""
    first = date(2000, 1, 1) + timedelta(days=rng.randrange(4_000))
    last = date(2012, 1, 1) + timedelta(days=rng.randrange(4_000))
    ends = [f"{day.year},{day.month},{day.day}" for day in (first, last)]
    words = [f"{day.year}-{day.month}-{day.day}" for day in (first, last)]
    days = (last - first).days
    return _one_program(
        "dates",
        f"How many days are there from {words[0]} to {words[1]}?",
        f"from datetime import date\nprint((date({ends[1]})-date({ends[0]})).days)",
        days,
        mistake=DemoProgram(f"print(({last.year}-{first.year})*365)", f"{(last.year - first.year) * 365}\n"),
    )


def choices(rng: Random) -> DemoProblem:
    """Ways to choose. The first program lacks its import, and fails."""
    people, chosen = rng.randint(15, 60), rng.randint(3, 6)
    value = math.comb(people, chosen)
    code = f"print(comb({people},{chosen}))"
    return DemoProblem(
        "choices",
        f"In how many ways can {chosen} of {people} people be chosen?",
        str(value),
        (
            DemoProgram(code, error="NameError: name 'comb' is not defined"),
            DemoProgram(f"from math import comb\n{code}", f"{value}\n"),
        ),
        mistake=DemoProgram(f"print({people}*{chosen})", f"{people * chosen}\n"),
    )


def chains(rng: Random) -> DemoProblem:
    """Two programs: the second one needs what the first one printed."""
    a, exponent = rng.randint(100, 999), rng.randint(20, 99)
    base, modulus = rng.randint(100, 999), rng.randint(100, 999)
    n = sum(map(int, str(a**exponent)))
    value = pow(base, n, modulus)
    return DemoProblem(
        "chains",
        f"Let n be the digit sum of {a} to the power {exponent}. "
        f"What is the remainder of {base} to the power n divided by {modulus}?",
        str(value),
        (
            DemoProgram(f"print(sum(map(int, str({a}**{exponent}))))", f"{n}\n"),
            DemoProgram(f"print(pow({base},{n},{modulus}))", f"{value}\n"),
        ),
        mistake=DemoProgram(f"print(pow({base},{exponent},{modulus}))", f"{pow(base, exponent, modulus)}\n"),
    )


def _one_program(kind: str, question: str, code: str, answer: int, mistake: DemoProgram) -> DemoProblem:
    return DemoProblem(kind, question, str(answer), (DemoProgram(code, f"{answer}\n"),), mistake)


KINDS: Mapping[str, Kind] = {
    kind.__name__: kind for kind in (arithmetic, powers, counting, sums, equations, units, dates, choices, chains)
}
