"""The programs that the benchmarks run, each with the standard output that is right."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """A program and what it must print."""

    code: str
    stdout: str
    fails: bool = False
    """Whether it ends with an exception."""


# Programs as a model writes them for competition mathematics: searches, counting, algebra, and some that fail.
# None runs for more than half a second where numpy and sympy are loaded.
MIXED = (
    Program(
        """\
count = 0
for a in range(1, 200):
    for b in range(a, 200):
        c = (a * a + b * b) ** 0.5
        if c == int(c) and c < 200:
            count += 1
print(count)
""",
        "125\n",
    ),
    Program(
        """\
n = 720720
print(sum(1 for d in range(1, n + 1) if n % d == 0))
""",
        "240\n",
    ),
    Program(
        """\
N = 200000
sieve = bytearray([1]) * (N + 1)
sieve[0] = sieve[1] = 0
for i in range(2, int(N ** 0.5) + 1):
    if sieve[i]:
        sieve[i * i :: i] = bytearray(len(sieve[i * i :: i]))
print(sum(sieve))
""",
        "17984\n",
    ),
    Program("print(pow(7, 2023, 1000))", "343\n"),
    Program(
        """\
from fractions import Fraction
s = sum(Fraction(1, k * (k + 1)) for k in range(1, 100))
print(s)
""",
        "99/100\n",
    ),
    Program(
        """\
from itertools import permutations
print(sum(1 for p in permutations(range(7)) if all(p[i] != i for i in range(7))))
""",
        "1854\n",
    ),
    Program(
        """\
from itertools import combinations
print(sum(1 for c in combinations(range(1, 21), 4) if sum(c) % 5 == 0))
""",
        "969\n",
    ),
    Program(
        """\
from itertools import product
from fractions import Fraction
hits = sum(1 for r in product(range(1, 7), repeat=4) if sum(r) == 14)
print(Fraction(hits, 6 ** 4))
""",
        "73/648\n",
    ),
    Program(
        """\
from functools import lru_cache
@lru_cache(None)
def paths(x, y):
    if x == 0 or y == 0:
        return 1
    return paths(x - 1, y) + paths(x, y - 1)
print(paths(10, 10))
""",
        "184756\n",
    ),
    Program(
        """\
import math
print(math.comb(30, 12), math.gcd(84, 126), math.lcm(12, 18))
""",
        "86493225 42 36\n",
    ),
    Program(
        """\
for n in range(1, 10 ** 6):
    if n % 7 == 3 and n % 11 == 5 and n % 13 == 7:
        print(n)
        break
""",
        "423\n",
    ),
    Program(
        """\
coins = [1, 5, 10, 25, 50]
ways = [1] + [0] * 1000
for c in coins:
    for v in range(c, 1001):
        ways[v] += ways[v - c]
print(ways[1000])
""",
        "801451\n",
    ),
    Program(
        """\
from sympy import symbols, solve, Eq
x, y = symbols('x y')
print(solve([Eq(x + y, 10), Eq(x * y, 21)], [x, y]))
""",
        "[(3, 7), (7, 3)]\n",
    ),
    Program(
        """\
from sympy import symbols, solve
x = symbols('x')
print(sorted(solve(x**3 - 6*x**2 + 11*x - 6, x)))
""",
        "[1, 2, 3]\n",
    ),
    Program(
        """\
from sympy import symbols, factor
x = symbols('x')
print(factor(x**6 - 1))
""",
        "(x - 1)*(x + 1)*(x**2 - x + 1)*(x**2 + x + 1)\n",
    ),
    Program(
        """\
from sympy import factorint
print(factorint(2 ** 32 + 1))
""",
        "{641: 1, 6700417: 1}\n",
    ),
    Program(
        """\
from sympy import symbols, integrate, exp
x = symbols('x')
print(integrate(x * exp(-x), (x, 0, 1)))
""",
        "1 - 2*exp(-1)\n",
    ),
    Program(
        """\
from sympy import symbols, summation, factor
k, n = symbols('k n')
print(factor(summation(k**3, (k, 1, n))))
""",
        "n**2*(n + 1)**2/4\n",
    ),
    Program(
        """\
from sympy import Matrix
m = Matrix([[2, 1, 0], [1, 3, 1], [0, 1, 4]])
print(m.det(), m.rank())
""",
        "18 3\n",
    ),
    Program(
        """\
from sympy import totient, isprime, nextprime
print(totient(1001), isprime(2 ** 31 - 1), nextprime(10 ** 6))
""",
        "720 True 1000003\n",
    ),
    Program(
        """\
from sympy import symbols, Rational, nsimplify, sqrt, expand
print(expand((1 + sqrt(2)) ** 6), nsimplify(0.375, rational=True), Rational(3, 7) + Rational(2, 21))
""",
        "70*sqrt(2) + 99 3/8 11/21\n",
    ),
    Program(
        """\
import numpy as np
print([round(float(r), 6) for r in sorted(np.roots([1, -6, 11, -6]).real)])
""",
        "[1.0, 2.0, 3.0]\n",
    ),
    Program(
        """\
import numpy as np
A = np.array([[3.0, 2.0], [1.0, 4.0]])
print(np.round(np.linalg.solve(A, np.array([7.0, 9.0])), 6).tolist())
""",
        "[1.0, 2.0]\n",
    ),
    Program(
        """\
import numpy as np
rng = np.random.default_rng(0)
p = rng.random((100000, 2))
print(abs(4 * np.mean((p ** 2).sum(axis=1) < 1) - np.pi) < 0.05)
""",
        "True\n",
    ),
    Program(
        """\
import numpy as np
M = np.array([[1, 1], [1, 0]], dtype=object)
R = np.array([[1, 0], [0, 1]], dtype=object)
for _ in range(90):
    R = R.dot(M)
print(R[0, 1])
""",
        "2880067194370816120\n",
    ),
    Program(
        """\
found = []
for a in range(1, 50):
    for b in range(a, 50):
        if a * b == 6 * (a + b):
            found.append((a, b))
            print(f'a = {a}, b = {b}, sum = {a + b}')
print('total', len(found))
""",
        """\
a = 7, b = 42, sum = 49
a = 8, b = 24, sum = 32
a = 9, b = 18, sum = 27
a = 10, b = 15, sum = 25
a = 12, b = 12, sum = 24
total 5
""",
    ),
    Program(
        """\
import math

def area(a, b, c):
    s = (a + b + c) / 2
    return math.sqrt(s * (s - a) * (s - b) * (s - c))

if __name__ == '__main__':
    print(area(13, 14, 15))
""",
        "84.0\n",
    ),
    Program(
        """\
x = 5
print(x)
print(y)
""",
        "5\n",
        fails=True,
    ),
    Program(
        """\
from sympy import symbols, solve
x = symbols('x')
solution = solve(x**2 + 1 - x * 2, x)
print(solution)
print(solution[1])
""",
        "[1]\n",
        fails=True,
    ),
    Program(
        """\
total = 0
for i in range(10)
    total += i
print(total)
""",
        "",
        fails=True,
    ),
)

PROGRAMS: dict[str, tuple[Program, ...]] = {
    "print": (Program("print(1 + 1)", "2\n"),),
    "numpy": (Program("import numpy\nprint(numpy.arange(10).sum())", "45\n"),),
    "sympy": (Program("import sympy\nx = sympy.Symbol('x')\nprint(sympy.solve(x**2 - 5*x + 6, x))", "[2, 3]\n"),),
    "mixed": MIXED,
}
