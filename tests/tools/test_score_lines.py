"""`verl-tir score`: generations of any system, scored by the same scorer."""

from __future__ import annotations

import contextlib
import json
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from math_answers import ScoringPool, Verdict
from tir_tools.evaluation.score import Keys, LineError, Tally, score_file, score_lines

HANGING = r"\boxed{9^{9^{9^9}}}"


@pytest.fixture(scope="module")
def pool() -> Iterator[ScoringPool]:
    with contextlib.closing(ScoringPool(workers=1, timeout=1.0, memory_limit_mb=1024)) as shared:
        yield shared


def write(path: Path, *lines: Any) -> Path:
    """JSON lines; text goes in as it is."""
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# response, ground truth, score, extracted, status
RESPONSES = {
    "right": (r"so \boxed{\frac12}", "0.5", 1.0, r"\frac12", "correct"),
    "by algebra": (r"so \boxed{\sqrt{8}}", r"2\sqrt{2}", 1.0, r"\sqrt{8}", "correct"),
    "one of several": (r"so \boxed{7}", ["5", "7"], 1.0, "7", "correct"),
    "a number": (r"so \boxed{5.0}", 5, 1.0, "5.0", "correct"),
    "wrong": (r"so \boxed{6}", "5", 0.0, "6", "wrong"),
    "empty box": (r"so \boxed{}", "5", 0.0, "", "wrong"),
    "no box": ("so 5", "5", 0.0, None, "no_answer"),
    "open box": (r"so \boxed{5", "5", 0.0, None, "no_answer"),
    "undecided": (HANGING, "5", None, "9^{9^{9^9}}", "undecided"),
    "last box of a transcript": (
        "\\boxed{4}\n```py\nfinal_answer(5)\n```\nCode execution result: \\boxed{5}\n",
        "5",
        1.0,
        "5",
        "correct",
    ),
}


def test_every_line_gets_its_score_in_its_place(pool: ScoringPool, tmp_path: Path) -> None:
    """Other keys are carried through, the order is kept although some take long, blank lines are passed over."""
    lines = [
        {"id": [name, {"é": 1.5}], "response": case[0], "ground_truth": case[1]} for name, case in RESPONSES.items()
    ]
    lines.insert(0, lines.pop())
    lines.insert(0, lines.pop())
    source, output = write(tmp_path / "in.jsonl", lines[0], "", *lines[1:]), tmp_path / "out.jsonl"
    tally = score_file(source, output, pool)
    scored = read(output)
    assert [line["id"] for line in scored] == [line["id"] for line in lines]
    for line in scored:
        assert list(line) == ["id", "response", "ground_truth", "score", "extracted", "status"]
        assert (line["score"], line["extracted"], line["status"]) == RESPONSES[line["id"][0]][2:]
    assert tally.counts == Counter(Verdict(case[4]) for case in RESPONSES.values())
    assert not stat.S_IMODE(output.stat().st_mode) & stat.S_IXUSR


def test_a_scored_file_can_be_scored_again(pool: ScoringPool, tmp_path: Path) -> None:
    """Onto itself, too; a wrong score in it does not stay."""
    path = write(tmp_path / "in.jsonl", {"answer": r"\boxed{5}", "truth": "5", "k": 1})
    keys = Keys("answer", "truth")
    score_file(path, path, pool, keys)
    once = read(path)
    assert once == [{"answer": r"\boxed{5}", "truth": "5", "k": 1, "score": 1.0, "extracted": "5", "status": "correct"}]
    write(path, once[0] | {"score": 0.0})
    score_file(path, path, pool, keys)
    assert read(path) == once


GOOD = {"response": r"\boxed{5}", "ground_truth": "5"}
BAD_LINES = {
    "no JSON": ("{", "line 2: no JSON: "),
    "no object": ("[1]", "line 2: must be an object"),
    "no response": ({"ground_truth": "5"}, "line 2: no key 'response'; it has 'ground_truth'"),
    "no ground truth": ({"response": "5"}, "line 2: no key 'ground_truth'; it has 'response'"),
    "no text": (GOOD | {"response": ["5"]}, "line 2: 'response' must be text, not"),
    "no truth": (GOOD | {"ground_truth": None}, "ground truth of line 2 must be text, a number"),
    "a score of its own": (GOOD | {"score": 3}, "line 2: has 'score' of its own.*rename it.*--overwrite"),
    "too many digits": ('{"response": "", "ground_truth": ' + "9" * 5_000 + "}", "line 2: no JSON: Exceeds the limit"),
    "too deep": ("[" * 100_000, "line 2: no JSON: "),
}


@pytest.mark.parametrize(("line", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_line_that_cannot_be_scored_is_named(pool: ScoringPool, tmp_path: Path, line: Any, message: str) -> None:
    """Nothing is written half: what was there before stays, and no other file does."""
    source, output = write(tmp_path / "in.jsonl", GOOD, line, GOOD), tmp_path / "out.jsonl"
    output.write_text("before")
    with pytest.raises(LineError, match=message):
        score_file(source, output, pool)
    assert output.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_score_of_another_system_can_be_replaced(pool: ScoringPool, tmp_path: Path) -> None:
    """When asked for."""
    source, output = write(tmp_path / "in.jsonl", GOOD | {"score": 3}), tmp_path / "out.jsonl"
    score_file(source, output, pool, overwrite=True)
    assert read(output)[0]["score"] == 1.0


def test_bytes_that_are_no_text_are_named_and_odd_text_survives(pool: ScoringPool, tmp_path: Path) -> None:
    """A byte-order mark is no part of the first line, half a surrogate pair comes out as it went in."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    line = json.dumps(GOOD | {"k": "\ud800 \u2028"}).encode()
    source.write_bytes(b"\xef\xbb\xbf" + line + b"\n")
    score_file(source, output, pool)
    assert json.loads(output.read_bytes())["k"] == "\ud800 \u2028"
    source.write_bytes(line + b"\n\xff\n")
    with pytest.raises(LineError, match="line 2: no JSON: 'utf-8' codec"):
        score_file(source, output, pool)


async def test_a_long_file_is_never_held_whole(pool: ScoringPool) -> None:
    """Lines are read as earlier ones are done, also behind one that takes long."""
    taken = 0

    def lines() -> Iterator[bytes]:
        nonlocal taken
        yield json.dumps({"response": HANGING, "ground_truth": "6"}).encode()
        while taken < 10_000:
            taken += 1
            yield json.dumps(GOOD).encode()

    async def first() -> Verdict:
        async with contextlib.aclosing(score_lines(lines(), pool)) as scored:
            return (await anext(scored)).verdict

    assert await first() is Verdict.UNDECIDED
    assert taken < 1_000


def test_the_accuracy_is_that_of_the_decided() -> None:
    """With Wilson's interval (8 of 10: 0.490 to 0.943; Brown, Cai and DasGupta 2001 for its use)."""
    tally = Tally(Counter({Verdict.CORRECT: 8, Verdict.WRONG: 1, Verdict.NO_ANSWER: 1, Verdict.UNDECIDED: 5}))
    assert tally.accuracy == 0.8
    assert tally.interval() == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert Tally().accuracy is None
    assert Tally().interval() is None


def test_the_command_reads_and_writes_pipes(tmp_path: Path) -> None:
    """The lines on stdout alone, the summary on stderr; a bad line is an error that names file and line."""
    command = [sys.executable, "-m", "verl_tir", "score", "-", "--output", "-"]
    done = subprocess.run(command, input=json.dumps(GOOD) + "\n", capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == GOOD | {"score": 1.0, "extracted": "5", "status": "correct"}
    assert "accuracy" in done.stderr
    source = write(tmp_path / "in.jsonl", {"response": "5"})
    output = tmp_path / "out.jsonl"
    done = subprocess.run(
        [*command[:4], str(source), "--output", str(output)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"{source}: line 1: no key 'ground_truth'" in done.stderr
    assert not output.exists()
