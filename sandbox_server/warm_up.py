"""What a preloaded library imports or builds only when first used, used once before any program runs.

A program's first `solve` would otherwise import dozens of sympy's modules and fill its tables, which takes longer than
the solving. Results are not kept: sympy's cache is emptied, and random generators are seeded anew in each program.
"""

import importlib
from collections.abc import Callable


def warm_up(modules: tuple[str, ...]) -> tuple[str, ...]:
    """Use what `modules`, already imported, put off. One that fails is left as it is, with a line for the log."""
    complaints = []
    for name in modules:
        use = _USES.get(name)
        if use is None:
            continue
        try:
            use()
        except (ImportError, AttributeError, TypeError, ValueError, NotImplementedError) as error:
            complaints.append(f"warm-up of {name} stopped early; its programs start slower: {error!r}")
    return tuple(complaints)


def _use_numpy() -> None:
    import numpy as np

    for name in ("numpy.random", "numpy.linalg", "numpy.polynomial", "numpy.fft"):
        importlib.import_module(name)
    matrix = np.array([[2.0, 1.0], [1.0, 3.0]])
    np.linalg.solve(matrix, [1.0, 2.0])
    np.roots([1.0, -3.0, 2.0])
    np.random.default_rng(0).normal(size=3)
    repr(matrix)


def _use_sympy() -> None:
    import sympy as sp
    from sympy.core.cache import clear_cache

    x, y, n = sp.symbols("x y n")
    sp.solve(x**2 - 3 * x - 10, x)
    sp.solve([x + y - 7, x - y - 1], [x, y])
    sp.factor(x**4 - 16)
    sp.expand((x + 2) ** 3)
    sp.simplify((x**2 - 4) / (x - 2))
    sp.integrate(x * sp.cos(x), x)
    sp.integrate(x**2, (x, 0, 3))
    sp.diff(sp.sin(x) ** 2, x)
    sp.limit(sp.sin(2 * x) / x, x, 0)
    sp.series(sp.exp(x), x, 0, 3)
    sp.summation(n**2, (n, 1, 6))
    sp.Matrix([[2, 1], [1, 3]]).eigenvals()
    sp.sympify("3*x + 1").subs(x, 2)
    sp.Rational(3, 4).evalf()
    sp.nsimplify(0.75)
    sp.factorint(5040)
    list(sp.primerange(2, 30))
    sp.trigsimp(sp.sin(x) ** 2 + sp.cos(x) ** 2)
    sp.solveset(x**2 - 5, x, sp.S.Reals)
    sp.latex(sp.sqrt(x) / 2)
    sp.pretty(x / 2)
    str(sp.sqrt(12))
    clear_cache()


def _use_scipy() -> None:
    # scipy's parts import each other, and are what takes the time; those that mathematics problems call for most.
    for name in ("scipy.optimize", "scipy.special", "scipy.integrate", "scipy.linalg"):
        importlib.import_module(name)


_USES: dict[str, Callable[[], None]] = {"numpy": _use_numpy, "sympy": _use_sympy, "scipy": _use_scipy}
