r"""LaTeX of an answer that a program printed: `3*sqrt(11)`, `pi/2`, `2**10`, `Rational(1, 2)`, `Interval.open(0, oo)`.

A tool prints Python and sympy syntax, which a LaTeX parser reads as products of letters (`pi` as p times i). The text
is parsed as a Python expression and written out as LaTeX. Nothing is evaluated, so no input can run code or take
long.
"""

import ast
import math
import re

from math_answers.python_conditions import joined, solutions_of
from math_answers.unicode_text import in_plain_width

# Text without one of these reads the same as LaTeX, or better (`x^2`, `5 cm`, `1,234`).
# I and E alone are the letters of a choice; next to an operator they are numbers.
_PYTHON_SIGN = re.compile(
    r"\*\*|\d[eE][-+]?\d|\d[jJ]\b|\b(?:oo|pi|Reals|Integers|EmptySet)\b|[-+*/]\s*[IE]\b|\b[IE]\s*[-+*/]"
    r"|[A-Za-z]{2}\w*\s*\(|\[\s*[\[({]|^\{.*[:(]|[&|]\s*\(|[\w)]\s+(?:and|or)\s+[\w(].*[<>]"
)
# The parser's own time and stack grow with the text; printed answers are short.
_MAX_CHARS = 2_000

_NAMES = {
    "pi": r"\pi",
    "oo": r"\infty",
    "inf": r"\infty",
    "I": "i",
    "E": "e",
    "e": "e",
    "Reals": r"\mathbb{R}",
    "Integers": r"\mathbb{Z}",
    "EmptySet": r"\{\}",
}
_WRAPPERS = frozenset({"Integer", "Float", "Decimal", "mpf", "float", "int", "complex", "array", "tensor", "Poly"}) | {
    f"{kind}{bits}" for kind, bits in (("float", 32), ("float", 64), ("int", 32), ("int", 64), ("complex", 128))
}
_ARRAYS = frozenset({"Matrix", "ImmutableMatrix", "ImmutableDenseMatrix", "MutableDenseMatrix", "array", "tensor"})
_FUNCTIONS = {
    name: rf"\{name}" for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "ln")
} | {
    "log": r"\ln",
    "log2": r"\log_{2}",
    "log10": r"\log_{10}",
    "asin": r"\arcsin",
    "acos": r"\arccos",
    "atan": r"\arctan",
}
_INTERVAL_ENDS = {"Interval": "[]", "open": "()", "Lopen": "(]", "Ropen": "[)"}
_RELATIONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: r"\le",
    ast.Gt: ">",
    ast.GtE: r"\ge",
    ast.Eq: "=",
    ast.NotEq: r"\ne",
}
_RELATION_CALLS: dict[str, type[ast.cmpop]] = {"Eq": ast.Eq, "Ne": ast.NotEq}
# A row of numbers as numpy prints it, without commas.
_SPACED_ROW = re.compile(r"[\[\]\s\d.eEj+-]+")
_SPACE_BETWEEN_ITEMS = re.compile(r"(?<=[\d.j])\s+(?=[-+]?[\d.])|(?<=\])\s*(?=\[)")


class _NotAnExpression(ValueError):
    """The text is Python, but nothing that has a LaTeX form here."""


def python_to_latex(text: str) -> str | None:
    """LaTeX of `text` where it is a printed Python or sympy expression, else None (also where none is needed)."""
    if len(text) > _MAX_CHARS or "\\" in text:
        return None
    text = _with_commas(in_plain_width(text).strip())
    if not _PYTHON_SIGN.search(text):
        return None
    try:
        # Where it is not LaTeX, ^ is a power too.
        return _latex(ast.parse(text.replace("^", "**"), mode="eval").body)
    # ast.parse raises each of these, depending on what is wrong with the text and how deep it nests.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _with_commas(text: str) -> str:
    """`[1. 2.]`, as numpy prints an array, as a call that makes it; any other text as it is."""
    if "," in text or not _SPACED_ROW.fullmatch(text):
        return text
    listed = _SPACE_BETWEEN_ITEMS.sub(", ", text)
    return text if listed == text else f"array({listed})"


def _latex(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=bool() | None):
            raise _NotAnExpression(ast.dump(node))
        # Python takes 1e400 for infinite.
        case ast.Constant(value=int() | float() as value) if math.isfinite(value):
            return _number(value)
        case ast.Constant(value=complex() as value):
            return f"({_number(value.imag)} i)"
        # `np.pi`, `S.Reals`; the name alone tells which.
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in _NAMES:
            return _NAMES[name]
        case ast.Name(id=name) if len(name) == 1:
            return name
        case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
            return _all_of([left, right])
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _any_of([left, right])
        case ast.BoolOp(op=operator, values=values):
            return _all_of(values) if isinstance(operator, ast.And) else _any_of(values)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return f"-{_factor(operand)}"
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _latex(operand)
        case ast.BinOp():
            return _operation(node)
        case ast.Compare():
            parts = [_latex(node.left)]
            for sign, right in zip(node.ops, node.comparators, strict=True):
                if type(sign) not in _RELATIONS:
                    raise _NotAnExpression(ast.dump(node))
                parts += [_RELATIONS[type(sign)], _latex(right)]
            return " ".join(parts)
        # A tuple without parentheses begins where its first item begins.
        case ast.Tuple(elts=[first, *_] as items) if node.col_offset == first.col_offset:
            return _listed(items)
        case ast.Tuple(elts=items):
            return f"({_listed(items)})"
        case ast.List(elts=[ast.List(), *_] as rows):
            return _matrix(rows)
        case ast.List(elts=[ast.Dict(), *_] as dicts):
            return _listed(solutions_of(dicts))
        # All solutions of a system, each by its coordinates.
        case ast.List(elts=[ast.Tuple(), *_] as items):
            return _listed(items)
        case ast.List(elts=items):
            return f"[{_listed(items)}]"
        case ast.Dict(keys=keys, values=values) if all(keys):
            return ", ".join(f"{_key(key)} = {_latex(value)}" for key, value in zip(keys, values, strict=True) if key)
        case ast.Set(elts=items):
            return _set(items)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=arguments, keywords=keywords):
            # Of a type of numbers, or a domain.
            if keywords and name not in _ARRAYS | _WRAPPERS:
                raise _NotAnExpression(f"keywords of {name}")
            return _call(name, arguments)
    raise _NotAnExpression(type(node).__name__)


def _key(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str() as name) if name.isidentifier():
            return name
    return _latex(node)


def _any_of(conditions: list[ast.expr]) -> str:
    return r" \text{ or } ".join(map(_condition, conditions))


def _all_of(conditions: list[ast.expr]) -> str:
    return r" \text{ and } ".join(map(_condition, joined(conditions))) or r"(-\infty, \infty)"


def _condition(node: ast.expr) -> str:
    match node:
        case ast.Compare() | ast.BoolOp() | ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
            return _latex(node)
        case ast.Call(func=ast.Name(id="And" | "Or" | "Eq" | "Ne")):
            return _latex(node)
    raise _NotAnExpression(f"{type(node).__name__} as a condition")


def _operation(node: ast.BinOp) -> str:
    left, right = node.left, node.right
    match node.op:
        case ast.Add():
            return f"{_latex(left)} + {_latex(right)}"
        case ast.Sub():
            return f"{_latex(left)} - {_factor(right)}"
        case ast.Mult():
            return rf"{_factor(left)} \cdot {_factor(right)}"
        case ast.Div():
            return rf"\frac{{{_latex(left)}}}{{{_latex(right)}}}"
        case ast.Pow():
            return f"{_base(left)}^{{{_latex(right)}}}"
    raise _NotAnExpression(type(node.op).__name__)


def _call(name: str, arguments: list[ast.expr]) -> str:
    match name, arguments:
        case "sqrt", [radicand]:
            return rf"\sqrt{{{_latex(radicand)}}}"
        case "cbrt", [radicand]:
            return rf"\sqrt[3]{{{_latex(radicand)}}}"
        case "root", [radicand, degree]:
            return rf"\sqrt[{_latex(degree)}]{{{_latex(radicand)}}}"
        case "exp", [power]:
            return f"e^{{{_latex(power)}}}"
        case "log", [inner, base]:
            return rf"\log_{{{_latex(base)}}}({_latex(inner)})"
        case (("Rational" | "Fraction" | "mpq"), [over, under]):
            return rf"\frac{{{_latex(over)}}}{{{_latex(under)}}}"
        case (("Abs" | "abs"), [inner]):
            return rf"\left|{_latex(inner)}\right|"
        case "complex", [real, imaginary]:
            return f"{_latex(real)} + {_factor(imaginary)} i"
        case "factorial", [inner]:
            return f"({_latex(inner)})!"
        case "binomial", [over, under]:
            return rf"\binom{{{_latex(over)}}}{{{_latex(under)}}}"
        case _, [ast.List(elts=[_, *_] as rows)] if name in _ARRAYS:
            return _matrix(rows)
        case "FiniteSet", _:
            return _set(arguments)
        case (("set" | "frozenset" | "EmptySet"), []):
            return _set([])
        case (("set" | "frozenset"), [ast.Set(elts=items) | ast.List(elts=items)]):
            return _set(items)
        case "Union", _:
            return r" \cup ".join(_latex(argument) for argument in arguments)
        case (("Eq" | "Ne"), [left, right]):
            return f"{_latex(left)} {_RELATIONS[_RELATION_CALLS[name]]} {_latex(right)}"
        case "And", [_, *_]:
            return _all_of(arguments)
        case "Or", [_, *_]:
            return _any_of(arguments)
        case "Complement", [whole, part]:
            return rf"{_latex(whole)} \setminus {_latex(part)}"
        case "Piecewise", [_, *_]:
            return _cases(arguments)
        case "floor", [inner]:
            return rf"\lfloor {_latex(inner)} \rfloor"
        case (("ceiling" | "ceil"), [inner]):
            return rf"\lceil {_latex(inner)} \rceil"
        case "Poly", [inner, *_]:
            return _latex(inner)
        case _, [ast.Constant(value=str() as digits)] if name in _WRAPPERS:
            return _number(float(digits))
        case _, [inner] if name in _WRAPPERS:
            return _latex(inner)
        case _, [inner] if name in _FUNCTIONS:
            return f"{_FUNCTIONS[name]}({_latex(inner)})"
        case _, [low, high] if name in _INTERVAL_ENDS:
            return _interval(_INTERVAL_ENDS[name], _latex(low), _latex(high))
    raise _NotAnExpression(f"{name} of {len(arguments)} arguments")


def _number(value: float) -> str:
    text = repr(value)
    mantissa, exponent_sign, exponent = text.partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent_sign else {"inf": r"\infty"}.get(text, text)


def _factor(node: ast.expr) -> str:
    sum_like = isinstance(node, ast.UnaryOp | ast.Compare) or (
        isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub)
    )
    return f"({_latex(node)})" if sum_like else _latex(node)


def _base(node: ast.expr) -> str:
    bare = isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and isinstance(node.value, int))
    return _latex(node) if bare else f"({_latex(node)})"


def _listed(items: list[ast.expr]) -> str:
    return ", ".join(_latex(item) for item in items)


def _matrix(rows: list[ast.expr]) -> str:
    cells = [row.elts if isinstance(row, ast.List) else [row] for row in rows]
    lines = r" \\ ".join(" & ".join(_latex(cell) for cell in row) for row in cells)
    return rf"\begin{{pmatrix}} {lines} \end{{pmatrix}}"


def _set(items: list[ast.expr]) -> str:
    # A set of one point is the point.
    return _latex(items[0]) if [type(item) for item in items] == [ast.Tuple] else rf"\{{{_listed(items)}\}}"


def _cases(pairs: list[ast.expr]) -> str:
    rows = []
    for pair in pairs:
        match pair:
            case ast.Tuple(elts=[value, ast.Constant(value=True)]):
                rows.append(rf"{_latex(value)} & \text{{otherwise}}")
            case ast.Tuple(elts=[value, condition]):
                rows.append(f"{_latex(value)} & {_condition(condition)}")
            case _:
                raise _NotAnExpression("a case without its condition")
    return r"\begin{cases} " + r" \\ ".join(rows) + r" \end{cases}"


def _interval(ends: str, low: str, high: str) -> str:
    # sympy prints an infinite end as if it were closed.
    left = "(" if low == r"-\infty" else ends[0]
    right = ")" if high == r"\infty" else ends[1]
    return f"{left}{low}, {high}{right}"
