r"""Instructions that a data set's questions carry: to work step by step, and where to put the answer.

The recipe's prompt gives its own, and a model that is told two things obeys one. What is known and stands in whole
sentences at the beginning or the end is taken off. Two kinds of sentences stay, because they are the problem's own:

- one that says anything else as well, such as `Put the answer in \boxed{} as a fraction.`;
- one that names no place for the answer, such as `Express your answer in simplest form.`
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bare:
    """A question without its instructions."""

    text: str
    removed: tuple[str, ...]
    """The sentences that were taken off, in their order."""
    left: str | None
    """What of it may still be an instruction, as it stands there; None where nothing looks like one."""


def bare(question: str) -> Bare:
    """Take the instructions that are known off both ends of a question, and look for others in what remains."""
    text = question.strip()
    if not _HINT.search(text):
        return Bare(text, (), None)
    sentences = list(_sentences(text))
    first, last = 0, len(sentences)
    while last > first and _is_instruction(sentences[last - 1]):
        last -= 1
    while first < last and _is_instruction(sentences[first]):
        first += 1
    removed = sentences[:first] + sentences[last:]
    text = "".join(sentences[first:last]).strip()
    left = _HINT.search(text)
    return Bare(text, tuple(one.strip() for one in removed), left[0].strip() if left else None)


# The words begin an instruction where the sentence before it has no full stop.
_BORDER = re.compile(
    r"(?<=[.!?\u3002\uff1f\uff01])(?:\s+|(?=[A-Z\u8bf7]))|\n\s*"
    r"|\s+(?=(?:Please|Let['\u2019]s|Let us|Remember to|Make sure|Put|Present|Return|Write|Give|Output|Think|Reason"
    r"|The last line|The final answer|First output|Show your work|You FIRST|You must put)\b|\u8bf7)"
)


def _sentences(text: str) -> Iterator[str]:
    """The text in pieces, each with the space after it; a piece that is not a whole sentence is left alone."""
    start = 0
    for border in _BORDER.finditer(text):
        if border.end() > start:
            yield text[start : border.end()]
            start = border.end()
    yield text[start:]


# A box with anything else in it, such as `m+n`, says more than where the answer goes.
_INSIDE = r"(?:[ .\u2026]{0,5}|\$?(?:[a-z]{2,10} ){0,3}(?:answer|result)(?: here)?)"
_PLACES = re.compile(
    rf"(?:\\\(|\$)?\\{{1,2}}boxed(?: ?\{{{{1,2}}{_INSIDE}\}}{{1,2}})?(?:\\\)|\$)?"
    r"|####|<answer>[^<>\n]{0,40}</answer>",
    re.IGNORECASE,
)
"""Where an answer may be wanted: in a box, after a mark, between tags. They become `@`."""
_QUOTES = re.compile(r"[`'\"*\u2018-\u201d]")
_ENDS = " .:!,\u3002\uff1a\uff0c"

_PLACE = r"(?:an? |the )?@(?: (?:command|tags?|environment|notation|format))?"
_LEAD = (
    r"(?:(?:please|lets|let us|now|finally|also|always|then|and|(?:remember|make sure|be sure) to|you (?:must|should))"
    r",? ){0,3}"
)
_ANSWER = r"(?:your|the|an) (?:(?:final|short|numerical|numeric|correct) )?(?:answer|response|result|solution)"
_GIVE = (
    rf"{_LEAD}(?:output|put|give|write|present|place|provide|return|enclose|box|wrap|state|express|report|show)"
    rf" {_ANSWER}(?: to (?:the|this) (?:problem|question))?(?: at the end)?"
    r" (?:enclosed )?"
    r"(?:with|in|inside|within|after|into|using|between|by|as|in the form(?: of)?|in (?:la)?tex format:?)"
    rf" {_PLACE}(?: at the (?:very )?end(?: of your (?:response|answer))?)?"
)
_HOW = (
    rf"{_LEAD}(?:think|reason|work|answer|(?:show|explain) your (?:work|reasoning)"
    r"|(?:solve|answer) (?:it|(?:the|this)(?: following)?(?: math(?:ematic(?:s|al))?)? (?:problem|question)s?))"
    r" (?:step[ -]by[ -]step|efficiently and clearly)"
)
_FORM = r"(?:answer: ?)?[$\\\[({]{0,3}(?:answer|letter|@)[$\])}]{0,3}"
_MEANS = (
    r"(?: ?\(without quotes\))?,? where [$\[]?(?:answer|letter)\]? is "
    r"(?:(?:just )?(?:your|the) (?:final )?answer(?: to the (?:problem|question))?"
    r"|just the final number or expression that solves the problem)"
)
_KNOWN = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_HOW}(?:[,.;]? (?:and |then ){{0,2}}{_GIVE})?(?: before answering)?",
        rf"(?:{_LEAD}solve (?:the|this)(?: following)?(?: math)? (?:problem|question),? and )?{_GIVE}(?:, i\.e\.,? @)?",
        rf"{_LEAD}(?:ensure (?:that )?)?(?:the|your) (?:final )?(?:answer|response)"
        r" (?:is|(?:must|should|has to|needs to) be)"
        r" (?:(?:put|placed|enclosed|given|written|presented|provided|wrapped) )?"
        rf"(?:in|inside|within|after|by|with|using) {_PLACE}",
        r"the last line of your (?:response|answer|reply) should be (?:of|in) the (?:following )?(?:form|format):?"
        rf" (?:{_FORM}(?:{_MEANS})?|therefore, the final answer is:? @)",
        rf"i hope it is correct{_MEANS}",
        rf"{_LEAD}put your answer on its own line (?:after answer:?|at the end in the form {_FORM}{_MEANS})"
        r"(?:,? and (?:you )?do(?: not|nt)? need to use a @ command)?",
        r"you first think about the reasoning process as an internal monologue and then provide the final answer",
        r"the reasoning process must be enclosed within <think> </think> tags",
        r"(?:first )?output the thinking process in <think> </think> tags and then output the final answer in @ tags",
        r"show your work in <think> ?</think> tags",
        r"and your final answer will be extracted automatically by the @ tag",
        r"this is the problem",
        r"\u8bf7?(?:\u901a\u8fc7)?(?:\u4e00\u6b65\u4e00\u6b65|\u9010\u6b65|\u4e00\u6b65\u6b65)\u5730?"
        r"(?:\u63a8\u7406|\u601d\u8003)(?:\u6765\u89e3\u7b54\u95ee\u9898)?[\uff0c,]? ?(?:\u5e76|\u7136\u540e)?"
        r"(?:\u5c06|\u628a)(?:\u4f60\u7684|\u60a8\u7684)?(?:\u6700\u7ec8)?\u7b54\u6848"
        r"(?:\u653e\u7f6e\u4e8e|\u653e\u5728|\u653e\u5165|\u653e\u5230|\u5199\u5728|\u7f6e\u4e8e) ?@"
        r"[. ]?[\u4e2d\u5185\u91cc]?",
    )
)
"""Whole sentences in small letters, without quotes and full stop: how data sets and trainers in use write them."""

_HINT = re.compile(
    r"\\(?:boxed|fbox)(?![a-z])|####|</?(?:answer|think)>"
    r"|\banswer\s*:\s*[\"'`]?\s*(?:\\?\$\s*(?:answer|letter)\b|$)|\n\s*(?:solution|reasoning)\s*:\s*$"
    r"|\blast line of your\b|\bon its own line\b|\bwithout quotes\b|\befficiently and clearly\b"
    r"|\b(?:think|reason(?:ing)?|work|solve|answer)\b[^.?!]{0,60}\bstep[ -]by[ -]step\b|\u7b54\u6848\u653e"
    r"|<\|im_(?:start|end)\|>|<\uff5c(?:User|Assistant)\uff5c>|\[/?INST\]|<start_of_turn>|<\|eot_id\|>",
    re.IGNORECASE,
)
"""What no problem of mathematics needs to say, templates of chats included."""


_LABEL = re.compile(r"\s*(?:final )?(?:answer|solution|reasoning)\s*[:\uff1a]\s*", re.IGNORECASE)
"""What a model is to go on after, where the question is a text to be continued."""


def _is_instruction(sentence: str) -> bool:
    if _LABEL.fullmatch(sentence):
        return True
    text = _QUOTES.sub("", _PLACES.sub("@", sentence)).casefold()
    text = " ".join(text.split()).strip(_ENDS)
    return any(known.fullmatch(text) for known in _KNOWN)
