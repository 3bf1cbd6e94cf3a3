"""Whether a ground truth reads as a value, so that an answer in another form can be recognised as it.

Call this only inside a scoring worker, for the same reasons as `equivalence`.
"""

import re

from math_answers.algebra import parsed
from math_answers.equivalence import MAX_PARSED_CHARS
from math_answers.form import Cases, Listed, Ratio
from math_answers.form_reader import read_form
from math_answers.latex_text import compact, has_numbers_side_by_side, is_words, tidy
from math_answers.python_text import python_to_latex
from math_answers.qualifiers import read_qualified
from math_answers.times import is_time

_GROWS = re.compile(r"[\^!]|\\(?:[dt]?binom|choose|sum|prod|int)(?![a-z])")
"""What can make a short text a huge number; without it a comparison is quick, and need not be tried."""


def is_readable(text: str) -> bool:
    """Whether the parser makes a value of `text`, one that equals itself and can be told from another.

    What it makes none of is right letter by letter only: words, and what it cannot read. A value such as `9^{9^{9^9}}`
    equals itself at once, and would use up the limits against every other answer: this does too.
    """
    from math_verify import LatexExtractionConfig, parse, verify

    tidied = read_qualified(tidy(python_to_latex(text) or text)).main
    if not 0 < len(tidied) <= MAX_PARSED_CHARS or has_numbers_side_by_side(compact(tidied)):
        return False
    form = read_form(tidied)
    if is_time(tidied) or isinstance(form, Ratio | Cases) or (isinstance(form, Listed) and r"\begin" in tidied):
        return True
    # Its percent sign is looked for outside of the dollar signs. Timeouts are the pool's.
    body, percent = (tidied[:-1].rstrip(), "%") if tidied.endswith("%") else (tidied, "")
    found = parse(f"${body}${percent}", [LatexExtractionConfig(boxed_match_priority=-1)], parsing_timeout=None)
    # What it cannot read it gives back as text; some of that the scorer's own reading makes a value of.
    values = [value for value in found if not isinstance(value, str)]
    if not values:
        return not is_words(compact(tidied)) and parsed(body) is not None
    if _GROWS.search(tidied):
        verify(values, parse("$12345.678$", parsing_timeout=None), timeout_seconds=None, allow_set_relation_comp=True)
    return verify(values, values, timeout_seconds=None, allow_set_relation_comp=True)
