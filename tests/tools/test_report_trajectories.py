"""From the dump to the page: what is read, which trajectories are chosen, and how they are packed."""

from __future__ import annotations

import base64
import gzip
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from trajectories import line, trajectory, turn, write_dump

from tir_tools.report.dump_index import DumpIndex, index_dump, load
from tir_tools.report.embed import HEAD_CHARS, TAIL_CHARS, Embedded, embed, utf16
from tir_tools.report.highlight import colour_runs
from tir_tools.report.page import report_page
from tir_tools.report.run_data import RunFiles, read_run
from tir_tools.report.sample import choose
from verl_tir.dump.format import DumpError
from verl_tir.trajectory import Outcome, SampledTokens, StopReason, TurnText

ANSWERED = trajectory(turn(Outcome.SUCCESS), turn(answer=True), answer="5")
VOID = trajectory(turn(void=True), stop=StopReason.VOID)
FAULT = trajectory(turn(Outcome.FAULT), stop=StopReason.SANDBOX_FAULT)
TEXT = (("prompt", "2+3?"), ("model", "```py\nprint(2+3)\n```"), ("tool", "5"), ("model", "It is \\boxed{5}."))
VOID_TEXT = (("prompt", "2+3?"), ("model", "Well."))
FAULT_TEXT = (("prompt", "2+3?"), ("model", "```py\nprint(2+3)\n```"))


def unpacked(embedded: Embedded) -> dict[str, Any]:
    """What a browser reads."""
    return json.loads(gzip.decompress(base64.b64decode(embedded.data)))


def everything(index: DumpIndex) -> list[dict[str, Any]]:
    """All trajectories as the page has them."""
    return unpacked(embed(index.entries, len(index.entries), 10**9))["trajectories"]


def test_what_a_step_adds_up_to(tmp_path: Path) -> None:
    """What only the dump knows, and the sampler's own metrics over again, without the groups that were replaced."""
    lines = [
        line(TEXT, ANSWERED, number=0),
        line(TEXT, ANSWERED, number=1, correct=False, data_source="aime"),
        line(VOID_TEXT, VOID, number=2, correct=False),
        line(VOID_TEXT, VOID, number=3, correct=False, fate="mask", reason="void"),
        line(FAULT_TEXT, FAULT, number=4, correct=None, fate="drop", reason="sandbox_fault"),
        line(VOID_TEXT, VOID, number=5, correct=None, fate="drop", reason="undecided", reward_extra={"undecided": 1}),
        line(VOID_TEXT, VOID, uid="b", correct=False, fate="evicted", reason="zero_variance"),
        line(TEXT, ANSWERED, uid="c", partition="val"),
    ]
    index = index_dump(write_dump(tmp_path, lines))
    values = index.metrics[1]
    assert {name: values[f"dump/fate/{name}"] for name in ("train", "mask", "drop", "evicted")} == {
        "train": 3,
        "mask": 1,
        "drop": 2,
        "evicted": 1,
    }
    assert values["dump/reason/zero_variance"] == values["dump/reason/undecided"] == 1
    assert values["dump/void_trained"] == pytest.approx(1 / 6)
    assert values["dump/undecided"] == pytest.approx(1 / 7)
    assert (values["dump/source/sums/correct"], values["dump/source/aime/correct"]) == (1 / 3, 0)
    assert (values["dump/groups/mixed"], values["dump/groups/all wrong"]) == (0.5, 0.5)
    assert values["dump/behaviour/answer calculated"] == pytest.approx(2 / 6)
    assert values["tir/trajectories/total"] == 6
    assert values["tir/aborted_ratio"] == pytest.approx(1 / 6)
    assert (len(index.entries), index.sessions, index.repeated, index.unreadable) == (8, 1, 0, 0)


def test_steps_that_were_done_again_count_once(tmp_path: Path) -> None:
    """A killed run did steps 1 to 4; resumed from step 2 it has done step 3. What it will do again is left out."""
    old = [line(TEXT, ANSWERED, step=step, uid=f"old{step}", run="20260101T000000Z") for step in (1, 2, 3, 4)]
    new = [line(TEXT, ANSWERED, step=3, uid="new3", run="20260102T000000Z")]
    index = index_dump(write_dump(tmp_path, old + new))
    assert [entry.uid for entry in index.entries] == ["old1", "old2", "new3"]
    assert (sorted(index.metrics), index.sessions, index.repeated) == ([1, 2, 3], 2, 2)


def test_what_the_metrics_lack_comes_from_the_dump(tmp_path: Path) -> None:
    """verl's file logger lost the steps before the restart; the page says where theirs come from."""
    write_dump(tmp_path / "trajectories", [line(TEXT, ANSWERED, step=step, uid=f"u{step}") for step in (1, 2, 3)])
    logged = {"step": 3, "data": {"training/global_step": 3, "tir/void_ratio": 0.75}}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(logged) + "\n")
    run = read_run(RunFiles.find(tmp_path))
    assert [value for _, value in run.history.series("tir/void_ratio")] == [0.0, 0.0, 0.75]
    assert "The metrics of 2 steps (1 to 2) are worked out from the trajectory dump" in run.remarks[0]
    assert "The metrics of 2 steps (1 to 2) are worked out" in report_page(run)


def test_a_dump_that_is_still_written_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Half a last line waits for the next look; half a line in the middle was left by a kill, and is counted."""
    write_dump(tmp_path, [line(TEXT, ANSWERED), line(TEXT, ANSWERED, number=1), line(TEXT, ANSWERED, number=2)])
    path = tmp_path / "train" / "000001.jsonl"
    first, second, third = path.read_text().splitlines()
    path.write_text(f"{first}\n{second[:50]}\n{third[:80]}")
    index = index_dump(tmp_path)
    assert (len(index.entries), index.unreadable) == (1, 1)
    assert caplog.text.count("000001.jsonl:2 is not a whole line") == 1


@pytest.mark.parametrize("wrong", ["{}", "[]", '{"schema": 2}', '{"schema": 9}'])
def test_another_file_in_the_dump_is_named(wrong: str, tmp_path: Path) -> None:
    """It is never read as something else."""
    write_dump(tmp_path, [line(TEXT, ANSWERED)])
    with (tmp_path / "train" / "000001.jsonl").open("a") as file:
        file.write(wrong + "\n")
    with pytest.raises(DumpError, match=r"000001\.jsonl:2 is not a line of a trajectory dump"):
        index_dump(tmp_path)


def many(steps: int, groups: int, size: int) -> list[dict[str, Any]]:
    """A run in which one group in five has a void trajectory, and one in a hundred a fault."""
    lines = []
    for step in range(1, steps + 1):
        for group in range(groups):
            for number in range(size):
                place = {"step": step, "uid": f"{step}-{group}", "number": number}
                if group % 100 == 99 and number == 0:
                    lines.append(line(FAULT_TEXT, FAULT, correct=None, fate="drop", reason="sandbox_fault", **place))
                elif group % 5 == 4 and number == 0:
                    lines.append(line(VOID_TEXT, VOID, correct=False, fate="mask", reason="void", **place))
                else:
                    lines.append(line(TEXT, ANSWERED, correct=(group + number) % 2 == 0, **place))
    return lines


def test_a_sample_is_fair_and_the_same_each_time(tmp_path: Path) -> None:
    """Every step, whole groups, and the rare kinds with the others."""
    index = index_dump(write_dump(tmp_path, many(steps=5, groups=100, size=4)))
    chosen = choose(index.entries, 200)
    assert chosen == choose(list(reversed(index.entries)), 200)
    assert Counter(entry.step for entry in chosen) == dict.fromkeys(range(1, 6), 40)
    assert set(Counter(entry.uid for entry in chosen).values()) == {4}
    assert any(entry.void for entry in chosen)
    assert any(entry.stop is StopReason.SANDBOX_FAULT for entry in chosen)
    assert choose(index.entries, 10**9) != []
    assert len(set(choose(index.entries, 10**9))) == len(index.entries)
    assert choose((), 10) == []


def test_a_long_run_is_sampled_at_even_steps(tmp_path: Path) -> None:
    """More steps than groups that fit: the first and the last one, and those between at even distance."""
    index = index_dump(write_dump(tmp_path, many(steps=65, groups=1, size=4)))
    steps = sorted({entry.step for entry in choose(index.entries, 20)})
    assert steps == [1, 17, 33, 49, 65]
    assert len(choose(index.entries, 18)) == 18


def test_ten_thousand_trajectories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page is of a bounded size, says what it shows of how many, and is made in seconds."""
    folder = write_dump(tmp_path / "trajectories", many(steps=20, groups=64, size=8))
    began = time.perf_counter()
    run = read_run(RunFiles.find(tmp_path))
    page = report_page(run)
    seconds = time.perf_counter() - began
    assert "Showing 1,000 of 10,240, a fixed sample" in page
    assert len(page) < 3 * 2**20
    assert "more would make the page too large" not in page
    small = report_page(run, max_mb=0.005)
    assert "more would make the page too large" in small
    assert len(small) < len(page)
    size = sum(path.stat().st_size for path in folder.rglob("*.jsonl"))
    with capsys.disabled():
        sys.stdout.write(f"\n10,240 trajectories ({size / 2**20:.0f} MiB): {len(page) >> 10} kB in {seconds:.1f} s\n")


def test_long_texts_are_cut_between_tokens(tmp_path: Path) -> None:
    """Head and tail stay, the gap says how much is missing, and the tokens are still those of their text."""
    text = "🙂ab" * 4000
    tokens = {"lengths": [1, 2] * 4000, "log_probs": [-0.5, -1.0] * 4000}
    item = line(VOID_TEXT, VOID)
    item["turns"][0] |= {"text": text, "tokens": tokens}
    (found,) = everything(index_dump(write_dump(tmp_path, [item])))
    head, gap, tail = found["turns"][0]["model"]
    assert len(head["text"]) + gap["gap"] + len(tail["text"]) == len(text)
    assert (text.startswith(head["text"]), text.endswith(tail["text"])) == (True, True)
    assert HEAD_CHARS - 2 <= len(head["text"]) <= HEAD_CHARS
    assert TAIL_CHARS - 2 <= len(tail["text"]) <= TAIL_CHARS
    for piece in (head, tail):
        assert sum(piece["lengths"]) == utf16(piece["text"])
        assert len(piece["lengths"]) == len(piece["logProbs"])
        assert sum(length for _, length in piece["colours"]) == utf16(piece["text"])
    assert tail["lengths"][-1] == 2
    assert tail["logProbs"][-1] == -1.0


def test_a_trajectory_is_whole_in_the_page(tmp_path: Path) -> None:
    """What the dump says of it, and texts that JSON or JavaScript find hard."""
    hard = "\u2028</script>\ud83d & 'é' \x00"
    item = line([("prompt", hard), ("model", hard)], VOID, reward=float("nan"), ground_truth=["5", 5])
    item["reward_extra"] = {"correct": 0.0, "own": {"a": 1}}
    (found,) = everything(index_dump(write_dump(tmp_path, [item])))
    assert found["turns"][0]["model"][0]["text"] == hard
    assert (found["reward"], found["truth"], found["parts"]) == ("nan", "['5', 5]", {"correct": 0.0, "own": "{'a': 1}"})
    assert found["outcome"] == "right"


def test_entries_are_read_again_in_their_order(tmp_path: Path) -> None:
    """By place, whatever order is asked for."""
    index = index_dump(write_dump(tmp_path, many(steps=2, groups=2, size=2)))
    order = list(index.entries)[::-1]
    assert [item.key for item in load(order)] == [f"{e.uid}_{k}_0" for e, k in zip(order, [1, 0] * 4, strict=True)]


TEXTS = {
    "prose": "Nothing to colour: `x`.",
    "code": "See:\n```py\ndef f(x):  # why\n    return 'a' + str(x)\n```\nand on",
    "unfinished": "```python\nwhile True:",
    "other languages": '```json\n{"a": 1}\n```',
    "line ends": "```py\r\nx = 1\r\ny = 'b'\r\n```\r\n",
    "byte order mark": "```py\n\ufeffx = 1\n```",
    "not Python": "```py\n\x00 ☃ $ ? 'open\n```",
    "empty": "",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_colours_change_no_text(text: str) -> None:
    """The runs are the text, whatever is in it."""
    assert "".join(run.text for run in colour_runs(text)) == text


def test_python_is_coloured() -> None:
    """Keywords, strings, comments, numbers and names, in code only."""
    runs = colour_runs("return 1\n```py\ndef f(x):  # why\n    return 'a' + str(2)\n```\n")
    assert runs[0] == ("", "return 1\n```py\n")
    kinds = {run.text.strip(): run.kind for run in runs}
    assert (kinds["def"], kinds["f"], kinds["# why"], kinds["'a'"]) == ("keyword", "name", "comment", "string")
    assert (kinds["str"], kinds["2"], kinds["return"]) == ("builtin", "number", "keyword")


def test_tokens_and_text_go_together() -> None:
    """A text knows its tokens by characters, the page by JavaScript's units."""
    said = TurnText("a🙂", None, "", SampledTokens((1, 0, 1), (-0.1, None, -2.0)))
    assert TurnText.from_record(said.to_record()) == said
    assert [utf16(text) for text in ("a", "🙂", "中", "\ud83d")] == [1, 2, 1, 1]
