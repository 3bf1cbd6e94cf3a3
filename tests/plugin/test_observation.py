"""What the model is shown of its program's run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from observations import REFERENCE, RESULT, TORL

from verl_tir.rollout.observation import Frame, Observation, ObservationRule, ProgramRun, observe, truncate_middle
from verl_tir.trajectory import Outcome

OK, FAILED, LATE = Outcome.SUCCESS, Outcome.FAILED, Outcome.TIME_LIMIT

TRACEBACK = (
    'Traceback (most recent call last):\n  File "a.py", line 2, in <module>\nZeroDivisionError: division by zero\n'
)
ERROR = "ZeroDivisionError: division by zero"
WARNING = "a.py:1: DeprecationWarning: old\n"
MARKER = "\n..._This content has been truncated to stay below 512 characters_...\n"

# id: outcome, stdout, stderr, text by our rule, text by the reference's
TEXTS = {
    "stdout": (OK, "5\n", "", "5\n", "5\n"),
    "nothing": (OK, "", "", "", ""),
    "white space is kept": (OK, "  5 \n\n", "", "  5 \n\n", "  5 \n\n"),
    "a warning does not hide the result": (OK, "5\n", WARNING, "5\n", WARNING[:-1]),
    "a warning alone is not shown": (OK, "", WARNING, "", WARNING[:-1]),
    "failure": (FAILED, "", TRACEBACK, ERROR, ERROR),
    "failure after output": (FAILED, "1\n2\n", TRACEBACK, "1\n2\n" + ERROR, ERROR),
    "failure after output without newline": (FAILED, "1", TRACEBACK, "1\n" + ERROR, ERROR),
    "exit code alone": (FAILED, "", "", "exit code 3", "interpreter timeout"),
    "exit code after output": (FAILED, "1\n", "", "1\nexit code 3", "1\n"),
    "time limit": (LATE, "", "", "interpreter timeout", "interpreter timeout"),
    "time limit after output": (LATE, "1\n", "", "1\ninterpreter timeout", "1\n"),
    "time limit after output without newline": (LATE, "1", "", "1\ninterpreter timeout", "1"),
    "time limit with stderr": (LATE, "1\n", WARNING, "1\ninterpreter timeout", WARNING[:-1]),
    "blank lines behind the error": (FAILED, "", TRACEBACK + "\n \n", ERROR, ERROR),
    "CRLF in the error": (FAILED, "", TRACEBACK.replace("\n", "\r\n"), ERROR, ERROR),
    "blank stderr": (FAILED, "", " \n\n", "exit code 3", "interpreter timeout"),
}


@pytest.mark.parametrize(("outcome", "stdout", "stderr", "result", "reference"), TEXTS.values(), ids=TEXTS)
def test_text_by_both_rules(outcome: Outcome, stdout: str, stderr: str, result: str, reference: str) -> None:
    """Ours shows the result and, of a failure, its last line; the reference's is the published one."""
    run = ProgramRun(outcome, stdout, stderr, return_code=0 if outcome is OK else 3)
    assert observe(run, RESULT, 512) == Observation(f"\nCode execution result: {result}\n", truncated=False)
    assert observe(run, REFERENCE, 512) == Observation(f"\nCode execution result: {reference}\n", truncated=False)


@pytest.mark.parametrize("rule", [RESULT, REFERENCE])
def test_long_output_keeps_its_head_and_tail(rule: ObservationRule) -> None:
    """One character more than 512 becomes 256, the marker and 256; 512 stay as they are."""
    stdout = "".join(chr(ord("a") + i % 26) for i in range(513))
    short = observe(ProgramRun(OK, stdout[:512], "", 0), rule, 512)
    assert short == Observation(f"\nCode execution result: {stdout[:512]}\n", truncated=False)
    long = observe(ProgramRun(OK, stdout, "", 0), rule, 512)
    assert long == Observation(f"\nCode execution result: {stdout[:256]}{MARKER}{stdout[257:]}\n", truncated=True)


@pytest.mark.parametrize("rule", [RESULT, REFERENCE])
def test_long_error_keeps_its_head_and_tail(rule: ObservationRule) -> None:
    """The last line of stderr is cut the same way, and earlier lines do not count."""
    error = "ValueError: " + "e" * 300 + "f" * 300
    observation = observe(ProgramRun(FAILED, "", "x" * 600 + "\n" + error, 1), rule, 512)
    assert observation == Observation(f"\nCode execution result: {error[:256]}{MARKER}{error[-256:]}\n", truncated=True)
    assert not observe(ProgramRun(FAILED, "", "x" * 600 + "\nValueError: a", 1), rule, 512).truncated


def test_each_output_is_cut_on_its_own() -> None:
    """A long stdout leaves the whole error of a failed program visible."""
    observation = observe(ProgramRun(FAILED, "a" * 600, TRACEBACK, 1), RESULT, 512)
    assert observation.text == f"\nCode execution result: {'a' * 256}{MARKER}{'a' * 256}\n{ERROR}\n"
    assert observation.truncated


# id: outcome, stdout, stderr, rule
HIDDEN = {
    "long stderr of a passing program": (OK, "5\n", "e" * 600, RESULT),
    "long stderr of a late program": (LATE, "5\n", "e" * 600, RESULT),
    "long stdout behind an error": (FAILED, "a" * 600, TRACEBACK, REFERENCE),
}


@pytest.mark.parametrize(("outcome", "stdout", "stderr", "rule"), HIDDEN.values(), ids=HIDDEN)
def test_output_that_is_not_shown_does_not_count_as_cut(
    outcome: Outcome, stdout: str, stderr: str, rule: ObservationRule
) -> None:
    """Only text that would have been shown can be truncated."""
    assert not observe(ProgramRun(outcome, stdout, stderr, 1), rule, 512).truncated


@given(text=st.text(max_size=60), max_chars=st.integers(2, 40))
def test_cut_is_exact(text: str, max_chars: int) -> None:
    """Either the text is untouched, or its two halves stand around a marker that names the limit."""
    short, cut = truncate_middle(text, max_chars)
    assert cut is (len(text) > max_chars)
    half = max_chars // 2
    marker = f"\n..._This content has been truncated to stay below {max_chars} characters_...\n"
    assert short == (text[:half] + marker + text[-half:] if cut else text)


# id: outcome, stdout, stderr, text
TORL_TEXTS = {
    "stdout": (OK, "5\n", "", "5\n"),
    "nothing": (OK, "", "", ""),
    "a warning does not hide the result": (OK, "5\n", WARNING, "5\n"),
    "failure after output": (FAILED, "1\n", TRACEBACK, "1\n"),
    "failure": (FAILED, "", TRACEBACK, ERROR),
    "time limit after output": (LATE, "1\n", WARNING, "1\n"),
    "time limit": (LATE, "", "", "interpreter timeout"),
    "exit code alone": (FAILED, "", "", "exit code 3"),
    "255 characters": (OK, "5" * 255, "", "5" * 255),
    "256 characters": (OK, "a" * 128 + "b" * 128, "", "a" * 128 + "..." + "b" * 128),
    "300 characters": (OK, "a" * 150 + "b" * 150, "", "a" * 128 + "..." + "b" * 128),
    "long error": (FAILED, "", "x\n" + "a" * 150 + "b" * 150, "a" * 128 + "..." + "b" * 128),
}


@pytest.mark.parametrize(("outcome", "stdout", "stderr", "text"), TORL_TEXTS.values(), ids=TORL_TEXTS)
def test_text_by_torls_rule(outcome: Outcome, stdout: str, stderr: str, text: str) -> None:
    """stdout if there is any or the program passed, else the error's last line; from 256 characters on, 128 and 128."""
    run = ProgramRun(outcome, stdout, stderr, return_code=0 if outcome is OK else 3)
    assert observe(run, TORL, 256, Frame("\n", "\n```\n")) == Observation(f"\n{text}\n```\n", truncated="..." in text)
    assert observe(run, TORL, 256).text == f"\nCode execution result: {text}\n"
