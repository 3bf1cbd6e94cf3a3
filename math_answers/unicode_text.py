r"""Signs of Unicode as LaTeX and ASCII: full-width and CJK forms, super- and subscripts, fractions, mathematical signs.

Models that think in Chinese or Japanese write full-width brackets, commas and digits; a program prints `10⁶` and `≤`.
"""

import re
import unicodedata
from functools import partial

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    # Small forms, and numbers in circles.
    code: unicodedata.normalize("NFKC", chr(code))
    for code in (*range(0xFE50, 0xFE6C), *range(0x2460, 0x2474))
    if unicodedata.normalize("NFKC", chr(code)).isascii()
}
_GREEK = {
    unicodedata.lookup(f"GREEK SMALL LETTER {name.upper()}"): rf"\{name} "
    for name in ["alpha", "beta", "gamma", "delta", "theta", "mu", "pi", "rho", "sigma", "tau", "phi", "omega"]
} | {"\u03bb": r"\lambda ", "\u03b5": r"\epsilon ", "\u03d5": r"\phi ", "\u0394": r"\Delta "}
_FRACTIONS = {
    sign: "\\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", sign).split("\u2044"))
    for sign in map(chr, (0xBC, 0xBD, 0xBE, *range(0x2150, 0x215F)))
}
_SIGNS = str.maketrans(
    _FULL_WIDTH
    | _GREEK
    | _FRACTIONS
    | {
        "\u3001": ",",
        "\u3002": ".",
        "\uff61": ".",
        "\u3010": "[",
        "\u3011": "]",
        "\u3014": "[",
        "\u3015": "]",
        "\u2236": ":",
        # Quotation marks of several scripts.
        **dict.fromkeys("\u201c\u201d\u300c\u300d\u300e\u300f", '"'),
        **dict.fromkeys("\u2018\u2019", "'"),
        # Nothing that can be seen.
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
        **dict.fromkeys("\u2010\u2011\u2212\u2013", "-"),
        "\u00d7": r"\times ",
        **dict.fromkeys("\u00b7\u22c5\u2219\u30fb", r"\cdot "),
        "\u00f7": "/",
        "\u2044": "/",
        "\u221e": r"\infty ",
        "\u222a": r"\cup ",
        "\u2229": r"\cap ",
        "\u2205": r"\emptyset ",
        "\u211d": r"\mathbb{R}",
        "\u2124": r"\mathbb{Z}",
        "\u2115": r"\mathbb{N}",
        "\u211a": r"\mathbb{Q}",
        "\u2102": r"\mathbb{C}",
        "\u2266": "\u2264",
        "\u2267": "\u2265",
        "\u2a7d": "\u2264",
        "\u2a7e": "\u2265",
        "\u2220": r"\angle ",
        "\u27e8": r"\langle ",
        "\u27e9": r"\rangle ",
        "\u00b0": r"^\circ ",
        "\u2103": r"^\circ C",
        "\u2109": r"^\circ F",
        # "or", "and".
        "\u6216": " or ",
        "\u548c": " and ",
        "\u4e0e": " and ",
        "\u4e14": " and ",
    }
)
_RAISED = dict(
    zip(
        "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b\u207f\u2071",
        "0123456789+-ni",
        strict=True,
    )
)
_LOWERED = {chr(0x2080 + digit): str(digit) for digit in range(10)} | {"\u2099": "n"}
_RUNS = tuple((re.compile(f"[{''.join(signs)}]+"), mark, signs) for mark, signs in (("^", _RAISED), ("_", _LOWERED)))


def in_plain_width(text: str) -> str:
    """`text` with ASCII for its full-width forms, and nothing else changed."""
    return text if text.isascii() else text.translate(_FULL_WIDTH)


def plain_signs(text: str) -> str:
    r"""`text` with such signs written out: `10⁶` as `10^6`, `½` as `\frac{1}{2}`."""
    if text.isascii():
        return text
    for run, mark, signs in _RUNS:
        text = run.sub(partial(_written_out, mark=mark, signs=signs), text)
    return text.translate(_SIGNS)


def _written_out(run: re.Match[str], mark: str, signs: dict[str, str]) -> str:
    digits = "".join(signs[sign] for sign in run[0])
    return f"{mark}{digits}" if len(digits) == 1 else f"{mark}{{{digits}}}"
