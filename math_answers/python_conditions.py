"""Conditions and solutions as sympy prints them, in plainer Python: `(1 < x) & (x < 3)` as `1 < x < 3`."""

import ast
import itertools
from collections.abc import Sequence


def joined(conditions: Sequence[ast.expr]) -> list[ast.expr]:
    """Conditions that say the same together, in fewer comparisons where both ends of one quantity are given.

    An end at infinity says nothing, so that none may be left.
    """
    ends = [end for condition in conditions for end in _conjuncts(condition) if not _is_at_infinity(end)]
    for first, second in itertools.permutations(ends) if len(ends) == 2 else ():
        match _ascending(first), _ascending(second):
            case (
                ast.Compare(left=low, ops=[ast.Lt() | ast.LtE() as one], comparators=[ast.Name(id=name) as quantity]),
                ast.Compare(left=ast.Name(id=other), ops=[ast.Lt() | ast.LtE() as two], comparators=[high]),
            ) if name == other:
                return [ast.Compare(low, [one, two], [quantity, high])]
    return ends


def solutions_of(dicts: Sequence[ast.expr]) -> list[ast.expr]:
    """What `solve` prints as dicts: `x == 1` and `x == 2` of one unknown, points of several in their names' order.

    Raises:
        ValueError: other things stand between them, or they are solutions for other unknowns.
    """
    if not all(isinstance(one, ast.Dict) and one.keys and all(one.keys) for one in dicts):
        raise ValueError("dicts and other things")
    by_name = [
        sorted(zip(one.keys, one.values, strict=True), key=lambda pair: ast.unparse(pair[0]))  # type: ignore[attr-defined]
        for one in dicts
    ]
    if len(by_name) == 1 or all(len(one) == 1 for one in by_name):
        return [ast.Compare(_named(name), [ast.Eq()], [value]) for one in by_name for name, value in one]
    if len({tuple(ast.unparse(name) for name, _ in one) for one in by_name}) > 1:
        raise ValueError("solutions for other unknowns")
    return [
        ast.copy_location(ast.Tuple([value for _, value in pairs]), one)
        for pairs, one in zip(by_name, dicts, strict=True)
    ]


def _named(key: ast.expr) -> ast.expr:
    return ast.Name(key.value) if isinstance(key, ast.Constant) and isinstance(key.value, str) else key


def _conjuncts(node: ast.expr) -> list[ast.expr]:
    match node:
        case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
            return _conjuncts(left) + _conjuncts(right)
        case ast.BoolOp(op=ast.And(), values=values) | ast.Call(func=ast.Name(id="And"), args=values):
            return [one for value in values for one in _conjuncts(value)]
    return [node]


def _ascending(node: ast.expr) -> ast.expr:
    """`1 < x` for `x > 1`."""
    match node:
        case ast.Compare(left=left, ops=[ast.Gt() | ast.GtE() as sign], comparators=[right]):
            return ast.Compare(right, [ast.Lt() if isinstance(sign, ast.Gt) else ast.LtE()], [left])
    return node


def _is_at_infinity(node: ast.expr) -> bool:
    match _ascending(node):
        case ast.Compare(left=ast.UnaryOp(op=ast.USub(), operand=ast.Name(id="oo")), ops=[ast.Lt() | ast.LtE()]):
            return True
        case ast.Compare(ops=[ast.Lt() | ast.LtE()], comparators=[ast.Name(id="oo")]):
            return True
    return False
