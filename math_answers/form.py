r"""What an answer is made of: a tuple, an interval, a list, a set, a matrix, cases, a relation, a ratio, an expression.

`form_reader` reads them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scalar:
    """One expression, or text."""

    text: str


@dataclass(frozen=True, slots=True)
class Bracketed:
    """A tuple, a point, an interval, or a printed list."""

    left: str
    """`(` or `[`."""
    right: str
    items: "tuple[Form, ...]"

    @property
    def has_one_kind_of_bracket(self) -> bool:
        return self.left + self.right in ("()", "[]")


@dataclass(frozen=True, slots=True)
class Listed:
    """Values without brackets, such as all solutions."""

    items: "tuple[Form, ...]"
    has_order: bool = True
    """False where they are alternatives, `1 or 2`, which are the coordinates of no point."""


@dataclass(frozen=True, slots=True)
class Braced:
    """A set by its elements."""

    items: "tuple[Form, ...]"


@dataclass(frozen=True, slots=True)
class Union:
    """Of sets."""

    parts: "tuple[Form, ...]"


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of cells; a vector is one row or one column."""

    rows: "tuple[tuple[Form, ...], ...]"

    @property
    def as_vector(self) -> "tuple[Form, ...] | None":
        """Its cells where it is one row or one column."""
        if len(self.rows) == 1:
            return self.rows[0]
        return tuple(row[0] for row in self.rows) if all(len(row) == 1 for row in self.rows) else None


@dataclass(frozen=True, slots=True)
class Relation:
    r"""Expressions with relation signs between them: `x = 5`, `1 < x \le 2`, `x \in [0, 1]`."""

    parts: "tuple[Form, ...]"
    signs: tuple[str, ...]
    """Of `=`, `<`, `>`, `<=`, `>=`, `!=`, `in`, `~`; one less than there are parts."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Numbers with colons between them: a ratio, or a time."""

    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        """As it is written in a time of the day."""
        return ":".join(self.parts)


@dataclass(frozen=True, slots=True)
class Cases:
    """Values, each under a condition."""

    rows: "tuple[tuple[Form, Form | None], ...]"
    """Value and condition; None for the condition of what is left over, `otherwise`."""


Form = Scalar | Bracketed | Listed | Braced | Union | Matrix | Relation | Ratio | Cases
