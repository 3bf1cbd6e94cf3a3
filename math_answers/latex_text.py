r"""Text forms of an answer: `tidy` for a LaTeX parser, `compact` for comparing two answers as text.

Both only rewrite what cannot change the meaning: spacing, sizing, wrapping, currency signs and separators of thousands.
"""

import calendar
import re
from dataclasses import dataclass
from fractions import Fraction

from math_answers.unicode_text import plain_signs

# An ordered table: a later rule may rely on an earlier one.
_TIDY_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:displaystyle|textstyle|limits|bf|rm|it|sf)(?![A-Za-z])", ""),
        (r"(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi "),
        (r"\\(?:text)?color\s*\{\w+\}|\\underline(?=\s*\{)|\\{1,2}\s*$", ""),
        (r"\u221a\s*(\d+|[a-z])", r"\\sqrt{\1}"),
        (r"\u221a\s*[({]([^(){}]*)[)}]", r"\\sqrt{\1}"),
        (r"\\log\s*_\s*(?:\{\s*e\s*\}|e(?![A-Za-z]))", r"\\ln "),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"(?<![A-Za-z\\])(?:(?:np|math|numpy|sympy|sp)\.)?(?:oo|[iI]nf|[iI]nfinity)(?![A-Za-z])", r"\\infty"),
        (r"(?<![\w}\])]) *\+ *(?=\\infty)", ""),
        (r"\\colon(?![A-Za-z])|\{:\}", ":"),
        (r"(?<=[)\]}])\s*U\s*(?=[(\[\\])", r" \\cup "),
        # A doubled backslash ends a matrix row; its second half begins no command.
        (r"(?<!\\)\\[\[\]()]", ""),
        (r"\\?\$|[\u00a3\u20ac\u00a5\u20b9]", ""),
        (r"\\[bB]ig{1,2}[lr]?(?![A-Za-z])", ""),
        (r"\\[dt]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:left|right)\s*(?=[\[\]()|.\\])", ""),
        # What LaTeX needs to typeset a separator of thousands is a separator.
        (r"(?<=\d)\s*(?:,\s*\\!|\\!\s*,|\{\s*,\s*\}(?:\s*\\!)?|\\[!,])\s*(?=\d{3}(?!\d))", ""),
        (r"(?<!\\)\\!|\{\}", ""),
        (r"\{,\}", ","),
        (r"(?<!\\)\\[,;: ]|~|\\q?quad(?![A-Za-z])", " "),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"\\frac\s*\{([^{}]*)\}\s*(\d)", r"\\frac{\1}{\2}"),
        (r"(?<=[\d}])\s*(?:\\text\s*\{\s*)?(?:percent(?:age)?|per cent|pct)\b\s*\}?", "%"),
        (r"\\%", "%"),
        (r"\\varnothing(?![A-Za-z])", r"\\emptyset"),
        # math-verify takes i for the imaginary unit only where it stands apart.
        (r"(?<=\d)i(?![A-Za-z])", " i"),
        (r"\s+", " "),
    )
)
# Names set upright or slanted: `\mathrm{e}` is e, `\operatorname{ln}` is `\ln`, `{\rm i}` is i; also functions by the
# names of other countries, `\tg` and `\arctg`, and `\lg`, the logarithm to base 10.
_STYLE = r"\\(?:mathrm|mathit|mathnormal|mathsf|operatorname\*?|text|textrm|textit|textnormal|mbox|boldsymbol|bm)"
_FUNCTIONS = (
    "arcsin|arccos|arctan|arccot|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|ln|lg|log|exp|gcd|lcm|max|min|det"
    "|tg|ctg|cotg|cosec|arctg|arcctg"
)
_FUNCTIONS_HERE = {"tg": "tan", "ctg": "cot", "cotg": "cot", "cosec": "csc", "arctg": "arctan", "arcctg": "arccot"}
_MAY_NEED_IT = re.compile(r"\\(?:m|o|t|b|rm|it|sf|c?o?tg|cosec|arcc?tg)|(?<![A-Za-z])\\?lg")

# An ordered table: a later rule may rely on an earlier one.
_NAME_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # {\rm e} and \mathrm e as \mathrm{e}.
        (r"\{\s*\\(?:rm|it|sf)(?![A-Za-z])\s*([^{}]*)\}", r"\\mathrm{\1}"),
        (r"\\(mathrm|mathit|mathsf|text|textrm)\s+([A-Za-z])(?![A-Za-z])", r"\\\1{\2}"),
        (rf"{_STYLE}\s*\{{\s*\\?({_FUNCTIONS})\s*\}}\s*", r"\\\1 "),
        (r"\\lg(?![A-Za-z])|(?<![A-Za-z\\])lg(?=[\s({\d])", r"\\log_{10}"),
        (rf"{_STYLE}\s*\{{\s*([\d.,]+)\s*\}}", r"\1"),
        # A command needs no style.
        (rf"(?:{_STYLE}|\\mathop)\s*\{{\s*(\\(?!circ)[A-Za-z]+)\s*\}}", r"\1 "),
        # The number e and the imaginary unit, apart from a letter before.
        (rf"(?<=[A-Za-z])\s*{_STYLE}\s*\{{\s*e\s*\}}", " e"),
        (rf"{_STYLE}\s*\{{\s*e\s*\}}", "e"),
        (rf"{_STYLE}\s*\{{\s*i\s*\}}", " i "),
        (r"\\(?:mathit|mathnormal|textit)\s*\{\s*([A-Za-z])\s*\}", r"\1"),
    )
)
_OTHER_NAME = re.compile(rf"\\({'|'.join(_FUNCTIONS_HERE)})(?![A-Za-z])")

_WRAPPED_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
_SINGLE_BRACED = re.compile(r"([_^])\{(\w)\}")
_SPACE_THAT_JOINS_NOTHING = re.compile(r"(?<!\w) | (?!\w)")
_CHOICE = re.compile(r"\(([A-Za-z])\)")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:[ _]\d{3})+(?:\.\d+)?")
_GROUPS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")
# A plain space after the comma makes a list.
_SPACED_COMMA = re.compile(r"(?<=\d),\s*(?:\\[;:, ]|~)\s*(?=\d{3}(?!\d))")
_BRACKET = re.compile(r"(?<!\\)[(\[]|\\\{")
_NUMBER_FIRST = re.compile(r"\s*[-+\\$]*\d")
# The parser takes exponential time for them. A command's argument stands in one pair.
_BRACES_IN_BRACES = re.compile(r"(?<!\\)(?<!(?<!\\)\{)(\{{2,}+)([^{}\\]*)(\}{2,}+)")
# Out of a string literal. In an environment it ends a row.
_DOUBLED_BACKSLASH = re.compile(r"(?<!\\)\\{2,}+(?=[A-Za-z]{2})")
_MULTIPLES = {
    "dozen": 12,
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "\u4e07": 10**4,
    "\u842c": 10**4,
    "\u4ebf": 10**8,
    "\u5104": 10**8,
}
_MULTIPLE = re.compile(
    rf"(-?\d{{1,9}}(?:\.\d{{1,9}})?)\s*(?:\\text\s*\{{\s*)?({'|'.join(_MULTIPLES)})\b([A-Za-z ]*)\}}?", re.IGNORECASE
)
_MIXED = re.compile(r"(-?\d+) (\d+)/(\d+)")
_REPEATING = re.compile(r"(-?)(\d{0,9})\.(\d{0,9})\\(?:overline|bar|dot)\s*\{?(\d{1,9})\}?")
_WORDS = re.compile(r"(?=.*[A-Za-z]{3})[A-Za-z ,;'.-]+")
# The number after a base or a degree is another matter: \log_2 8.
_NUMBERS_SIDE_BY_SIDE = re.compile(r"(?<![_^\d])\d+ \d")
_ARTICLES = frozenset({"a", "an", "the"})
_ORDINAL = re.compile(r"^(\d+)(?:st|nd|rd|th)$")
_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    )
}
_MONTHS = frozenset(name.casefold() for name in calendar.month_name[1:])
# A run of digits is one number: if it could be read in pieces as well, a long one would take forever.
_DATE = re.compile(
    rf"(?:(?:{'|'.join(calendar.month_name[1:])})|(?<!\d)\d{{1,4}}(?!\d)(?:st|nd|rd|th)?|of|the|[ ,.])++", re.IGNORECASE
)
_BASE = re.compile(r"([0-9A-Za-z]+)_\{?(?:\\text\{)?([0-9]{1,2}|[a-z]+)\}*")


def tidy(text: str) -> str:
    r"""`text` without wrapping and spacing commands, as a LaTeX parser reads it rightly: `\$1\,234.` is `1234`."""
    text = _unquoted(plain_signs(text).strip())
    text = _BRACES_IN_BRACES.sub(_in_one_pair, text)
    if r"\begin" not in text:
        text = _DOUBLED_BACKSLASH.sub(r"\\", text)
    if not _BRACKET.search(text):
        text = _SPACED_COMMA.sub(",", text)
    # Bold in Markdown; also what a cut left of it.
    text = text.removeprefix("**").removesuffix("**")
    if (wrapped := _WRAPPED_TEXT.fullmatch(text)) and _NUMBER_FIRST.match(wrapped[1]):
        text = wrapped[1]
    text = _with_plain_names(text)
    for pattern, replacement in _TIDY_RULES:
        text = pattern.sub(replacement, text)
    text = _unquoted(text.strip().rstrip(".,;").strip())
    if _THOUSANDS.fullmatch(text):
        return re.sub("[ _]", "", text)
    text = _with_groups_joined(text)
    if multiple := _MULTIPLE.fullmatch(text):
        value = Fraction(multiple[1]) * _MULTIPLES[multiple[2].lower()]
        return rf"{value}\text{{{multiple[3]}}}" if multiple[3].strip() else str(value)
    if mixed := _MIXED.fullmatch(text):
        return rf"{mixed[1]}\frac{{{mixed[2]}}}{{{mixed[3]}}}"
    if repeating := _REPEATING.fullmatch(text):
        return _repeating_decimal(*repeating.groups())
    return text


def compact(tidied: str) -> str:
    r"""A tidied text as it is compared letter by letter: without `\text{}` and idle spaces, `(C)` as `C`."""
    text = unwrapped(tidied)
    text = _SINGLE_BRACED.sub(r"\1\2", text)
    text = _SPACE_THAT_JOINS_NOTHING.sub("", text.strip()).rstrip(".")
    choice = _CHOICE.fullmatch(text)
    return choice[1] if choice else text


def unwrapped(tidied: str) -> str:
    r"""The text without its `\text{}` and the like, whose content stays."""
    return _WRAPPED_TEXT.sub(r"\1", tidied)


def is_words(compacted: str) -> bool:
    """Whether the text is words, which a LaTeX parser would read as a product of letters (`odd` equal to `ddo`)."""
    return _WORDS.fullmatch(compacted) is not None


def words_of(compacted: str) -> tuple[str, ...]:
    """The words of a text, for comparing names, dates and yes or no: without case, articles and punctuation.

    Numbers in words are numbers, and a date is the same either way round.
    """
    found = re.findall(r"[^\W_]+", compacted.casefold())
    words = [_NUMBERS.get(word, _ORDINAL.sub(r"\1", word)) for word in found if word not in _ARTICLES]
    return tuple(sorted(words) if _MONTHS.intersection(words) else words or found)


def same_words(one: str, other: str) -> bool:
    """Whether two compacted texts say the same in words: names, dates, yes and no, a number and its word.

    Signs and digits mean something else among numbers, so a text with digits is words only where it is a date.
    """
    texts = (one, other)
    if not any(is_words(text) or is_date(text) for text in texts):
        return False
    return all(is_words(text) or text.isdecimal() or is_date(text) for text in texts) and (
        words_of(one) == words_of(other)
    )


def is_date(text: str) -> bool:
    """Whether a compacted text is a date, with a month's name or an ordinal; digits and commas alone are numbers."""
    return _DATE.fullmatch(text) is not None and any(map(str.isalpha, text))


def has_numbers_side_by_side(compacted: str) -> bool:
    """Whether two numbers stand side by side with no sign between, which a LaTeX parser would add up (`1 2` is 3)."""
    return _NUMBERS_SIDE_BY_SIDE.search(compacted) is not None


@dataclass(frozen=True, slots=True)
class BasedNumber:
    """A number with its base written under it."""

    digits: str
    base: str


def based_number(tidied: str) -> BasedNumber | None:
    """`1011_2` taken apart, None where the text is not such a number."""
    match = _BASE.fullmatch(tidied)
    if match is None:
        return None
    base, digits = _NUMBERS.get(match[2], match[2]), match[1].casefold()
    # x_1 and a_12 are letters with an index.
    if not base.isdigit() or not any(map(str.isdigit, digits)):
        return None
    return BasedNumber(digits, base) if all(int(digit, 36) < int(base) for digit in digits) else None


def _with_plain_names(text: str) -> str:
    """LaTeX with the commands and letters that a parser knows in place of such names."""
    if not _MAY_NEED_IT.search(text):
        return text
    for pattern, replacement in _NAME_RULES:
        text = pattern.sub(replacement, text)
    return _OTHER_NAME.sub(lambda name: rf"\{_FUNCTIONS_HERE[name[1]]}", text)


def _in_one_pair(braces: "re.Match[str]") -> str:
    idle = min(len(braces[1]), len(braces[3])) - 1
    return braces[1][idle:] + braces[2] + braces[3][idle:]


def _with_groups_joined(text: str) -> str:
    """`x = 1,234` is not a list where every comma separates thousands; in brackets it is one."""
    joined = _GROUPS.sub(lambda number: number[0].replace(",", ""), text)
    return text if "," in joined or _BRACKET.search(text) else joined


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].strip()
    return text


def _repeating_decimal(sign: str, whole: str, fixed: str, repeated: str) -> str:
    nines = (10 ** len(repeated) - 1) * 10 ** len(fixed)
    value = Fraction(int(whole + fixed + repeated) - int(whole + fixed or "0"), nines)
    return rf"{sign}\frac{{{value.numerator}}}{{{value.denominator}}}"
