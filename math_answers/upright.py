r"""Names that are set upright or slanted: `\mathrm{e}` is e, `\operatorname{ln}` is `\ln`, `{\rm i}` is i.

Also functions by the names of other countries, `\tg` and `\arctg`, and `\lg`, the logarithm to base 10.
"""

import re

_STYLE = r"\\(?:mathrm|mathit|mathnormal|mathsf|operatorname\*?|text|textrm|textit|textnormal|mbox|boldsymbol|bm)"
_FUNCTIONS = (
    "arcsin|arccos|arctan|arccot|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|ln|lg|log|exp|gcd|lcm|max|min|det"
    "|tg|ctg|cotg|cosec|arctg|arcctg"
)
_OURS = {"tg": "tan", "ctg": "cot", "cotg": "cot", "cosec": "csc", "arctg": "arctan", "arcctg": "arccot"}
_MAY_NEED_IT = re.compile(r"\\(?:m|o|t|b|rm|it|sf|c?o?tg|cosec|arcc?tg)|(?<![A-Za-z])\\?lg")

# An ordered table: a later rule may rely on an earlier one.
_RULES = tuple(
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
_OTHER_NAME = re.compile(rf"\\({'|'.join(_OURS)})(?![A-Za-z])")


def with_plain_names(text: str) -> str:
    """LaTeX with the commands and letters that a parser knows in place of such names."""
    if not _MAY_NEED_IT.search(text):
        return text
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return _OTHER_NAME.sub(lambda name: rf"\{_OURS[name[1]]}", text)
