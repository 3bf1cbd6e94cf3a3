"""What each turn rule takes for a call, for code and for a turn's end; and how a rule is found."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_tir.rollout.turn_rule import TURN_RULES, TurnRule, resolve_turn_rule
from verl_tir.rollout.turn_rules import hermes, simpletir, torl

RULES = {"simpletir": simpletir.RULE, "torl": torl.RULE, "hermes": hermes.RULE}


def _call(**fields: object) -> str:
    return f"<tool_call>\n{json.dumps(fields)}\n</tool_call>"


CALL = _call(name="code_interpreter", arguments={"code": "print(1)\nprint(2)"})

# id: decoded text, its code, what of the text is the turn; the last is None where nothing closes the turn
TORL = {
    "block and request": ("so\n```python\nx\n```\n```output", "x", "so\n```python\nx\n```\n```output"),
    "what is behind the request": ("```python\nx\n```\n```output\n5\n```\n", "x", "```python\nx\n```\n```output"),
    "last block": (
        "```python\nx\n```\nor\n```python\ny\n```\n```output",
        "y",
        "```python\nx\n```\nor\n```python\ny\n```\n```output",
    ),
    "last complete block": (
        "```python\nx\n```\n```python\n\n```\n```output",
        "x",
        "```python\nx\n```\n```python\n\n```\n```output",
    ),
    "another language behind it": (
        "```python\nx\n```\n```json\n1\n```\n```output",
        "x",
        "```python\nx\n```\n```json\n1\n```\n```output",
    ),
    "tag in capitals, blanks": ("``` Python \nx\n``` \n```output", "x", "``` Python \nx\n``` \n```output"),
    "CRLF": ("```python\r\nx\r\n```\r\n```output", "x", "```python\r\nx\r\n```\r\n```output"),
    "request closes the block": ("```python\nx\n```output", "x", "```python\nx\n```output"),
    "request within a line": ("```python\nx\n```\nso ```output", "x", "```python\nx\n```\nso ```output"),
    "request within the code": ("```python\nprint('```output", None, "```python\nprint('```output"),
    "code goes on to the request": ("```python\nx```output", None, "```python\nx```output"),
    "py is another tag": ("```py\nx\n```\n```output", None, "```py\nx\n```\n```output"),
    "bare block": ("```\nx\n```\n```output", None, "```\nx\n```\n```output"),
    "no block": ("so\n```output", None, "so\n```output"),
    "prose between the fences of json": ("```json\n1\n```\nx\n```output", None, "```json\n1\n```\nx\n```output"),
    "block without a request": ("```python\nx\n```\nso \\boxed{5}", None, None),
    "nothing": ("", None, None),
    "request cut": ("```python\nx\n```\n```outpu", None, None),
    "Output is another word": ("```python\nx\n```\n```Output", None, None),
}

HERMES = {
    "call": (f"so\n{CALL}", "print(1)\nprint(2)", f"so\n{CALL}"),
    "what is behind the call": (f"{CALL}\n{CALL}<|im_end|>", "print(1)\nprint(2)", CALL),
    "on one line": (CALL.replace("\n", ""), "print(1)\nprint(2)", CALL.replace("\n", "")),
    "a start too many": (f"with <tool_call>: {CALL}", "print(1)\nprint(2)", f"with <tool_call>: {CALL}"),
    "other arguments beside": (
        _call(name="code_interpreter", arguments={"code": "x", "timeout": 3}, id=1),
        "x",
        _call(name="code_interpreter", arguments={"code": "x", "timeout": 3}, id=1),
    ),
}

NO_CODE = {
    "another tool": _call(name="search", arguments={"code": "x"}),
    "no name": _call(arguments={"code": "x"}),
    "no arguments": _call(name="code_interpreter"),
    "no code": _call(name="code_interpreter", arguments={"query": "x"}),
    "blank code": _call(name="code_interpreter", arguments={"code": " \n"}),
    "code is no text": _call(name="code_interpreter", arguments={"code": ["x"]}),
    "arguments as text": _call(name="code_interpreter", arguments='{"code": "x"}'),
    "list": "<tool_call>[1]</tool_call>",
    "number too long": f"<tool_call>{'9' * 5000}</tool_call>",
    "nested too deep": f"<tool_call>{'[' * 100_000}</tool_call>",
    "half a surrogate pair": '<tool_call>{"name": "code_interpreter", "arguments": {"code": "\\ud83d"}}</tool_call>',
    "single quotes": "<tool_call>{'name': 'code_interpreter', 'arguments': {'code': 'x'}}</tool_call>",
    "line break in a string": '<tool_call>{"name": "code_interpreter", "arguments": {"code": "x\ny"}}</tool_call>',
    "end within the code": _call(name="code_interpreter", arguments={"code": "'</tool_call>'"}).partition("l>'")[0]
    + "l>",
    "nothing in it": "<tool_call></tool_call>",
    "end alone": "so</tool_call>",
}
HERMES |= {name: (text, None, text) for name, text in NO_CODE.items()}
HERMES |= {
    "no call": ("so \\boxed{5}<|im_end|>", None, None),
    "nothing": ("", None, None),
    "call cut": (CALL[:-1], None, None),
    "fenced code": ("```python\nx\n```\n", None, None),
}
TABLES = [(rule, *row) for rule, table in (("torl", TORL), ("hermes", HERMES)) for row in table.values()]


@pytest.mark.parametrize(
    ("rule", "decoded", "code", "turn"),
    TABLES,
    ids=[f"torl: {name}" for name in TORL] + [f"hermes: {n}" for n in HERMES],
)
def test_where_a_turn_ends_and_what_its_code_is(rule: str, decoded: str, code: str | None, turn: str | None) -> None:
    """The turn is the text up to the end of its call, with the code that is run for it, if it can be run."""
    parsed = RULES[rule].parse(decoded)
    assert parsed.text == (decoded if turn is None else turn)
    assert parsed.closed is (turn is not None)
    assert (parsed.block and parsed.block.code) == code
    assert RULES[rule].parse(parsed.text) == parsed


FRAGMENTS = [
    "```",
    "python",
    "output",
    "\n",
    "\r\n",
    " ",
    "x",
    "<tool_call>",
    "</tool_call>",
    "{",
    "}",
    '"',
    CALL,
    "é🙂",
    "\0",
]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@settings(max_examples=300, deadline=None)
@given(text=st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join), more=st.text(max_size=9))
def test_parsing_holds_whatever_the_text(rule: TurnRule, text: str, more: str) -> None:
    """Nothing raises, a turn is a prefix that parses the same again, and what follows a call changes nothing."""
    parsed = rule.parse(text)
    assert text.startswith(parsed.text)
    assert parsed.closed or (parsed.text == text and parsed.block is None)
    assert rule.parse(parsed.text) == parsed
    if parsed.closed:
        assert rule.parse(text + more) == parsed
        assert rule.parse(parsed.text + more).text == parsed.text or rule is simpletir.RULE


@pytest.mark.parametrize("rule", [torl.RULE, hermes.RULE], ids=["torl", "hermes"])
def test_the_engine_stops_where_the_rule_ends_a_turn(rule: TurnRule) -> None:
    """Each stop string closes the turn at once, so no token is sampled behind it."""
    for stop in rule.stop_strings:
        parsed = rule.parse(f"so {stop} and on")
        assert parsed.closed
        assert parsed.text == f"so {stop}"


def test_programs_are_the_code_as_it_was_written() -> None:
    """Only SimpleTIR's prompt promises `final_answer`."""
    for rule in (torl.RULE, hermes.RULE):
        assert rule.program("x = 1") == "x = 1"
    assert "def final_answer" in simpletir.RULE.program("x = 1")


def test_names_stand_for_the_packages_rules() -> None:
    """By name, or by the path that anybody's rule has."""
    assert {name: resolve_turn_rule(name) for name in TURN_RULES} == RULES
    assert resolve_turn_rule("verl_tir.rollout.turn_rules.torl:RULE") is torl.RULE


def test_a_rule_that_lacks_a_part_is_named() -> None:
    """The message says what is missing, before anything starts."""
    names = {field.name for field in dataclasses.fields(torl.RULE)} - {"program"}
    members = {name: getattr(torl.RULE, name) for name in names}
    torl.INCOMPLETE = SimpleNamespace(**members)
    try:
        with pytest.raises(ValueError, match=r"^verl_tir\..*\.torl:INCOMPLETE is not a turn rule: it lacks program$"):
            resolve_turn_rule("verl_tir.rollout.turn_rules.torl:INCOMPLETE")
    finally:
        del torl.INCOMPLETE
