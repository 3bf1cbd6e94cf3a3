"""Stock verl and real vLLM under the other recipes, two GRPO steps each on the CPU; the loop is the same for all."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
from arithmetic import calling_transcripts, split

if TYPE_CHECKING:
    from conftest import RunVerl, VerlRun

pytestmark = pytest.mark.e2e

PROMPTS, SAMPLES, STEPS = 4, 8, 2


def _run(run_verl: RunVerl, recipe: str, **overrides: Any) -> VerlRun:
    problems, _ = split(seed=0, train=PROMPTS, validation=1)
    run = run_verl(
        problems,
        calling_transcripts(recipe, 0, itertools.cycle(problems)),
        {
            "+tir": recipe,
            # The tiny model was warmed up on chat messages.
            "tir.prompt.chat_template": True,
            "data.max_response_length": 256,
            "actor_rollout_ref.actor.ppo_mini_batch_size": PROMPTS // 2,
            "actor_rollout_ref.rollout.n": SAMPLES,
            "trainer.total_training_steps": STEPS,
            **overrides,
        },
    )
    assert run.status == 0, run.log[-6000:]
    assert len(run.dump) == STEPS * PROMPTS * SAMPLES
    assert all(metrics["training/rollout_probs_diff_max"] < 1e-3 for metrics in run.metrics)
    return run


def _texts(line: dict[str, Any], part: str) -> list[str]:
    return [turn[part] for turn in line["turns"] if part == "text" or turn[part]]


def _printed(code: str) -> str | None:
    """What a program of the warm start's form prints; None for any other."""
    found = re.fullmatch(r"print\((\d+)\*(\d+)([+-]\d+)\)", code)
    return found and f"{int(found[1]) * int(found[2]) + int(found[3])}\n"


def test_torl(run_verl: RunVerl) -> None:
    """Programs run where the model asks for output, at most C of them, and every trajectory trains for 1 or -1."""
    run = _run(run_verl, "torl")
    assert {line["reward"] for line in run.dump} <= {1.0, -1.0}
    assert {line["fate"] for line in run.dump} == {"train"}
    checked = 0
    for line in run.dump:
        model, tool = _texts(line, "text"), _texts(line, "observation")
        assert len(tool) <= 1
        assert all(text.count("```output") == 1 and text.endswith("```output") for text in model[: len(tool)])
        code = re.search(r"```python\n(.*)\n```", model[0])
        expected = _printed(code[1]) if code and tool else None
        if expected is not None:
            assert tool == [f"\n{expected}\n```\n"]
            checked += 1
        if line["stop_reason"] == "call_budget":
            assert model[-1].endswith("```output")
    assert checked >= 5
    assert any(line["reward"] == 1.0 for line in run.dump)


def test_hermes(run_verl: RunVerl) -> None:
    """Calls are in the chat format, their results are messages of the tool, and void rows are masked."""
    run = _run(run_verl, "hermes")
    checked = 0
    for line in run.dump:
        model, tool = _texts(line, "text"), _texts(line, "observation")
        assert all(text.endswith("</tool_call>") for text in model[: len(tool)])
        code = re.search(r'"code": "(.*)"\}\}', model[0])
        expected = _printed(code[1]) if code and tool else None
        if expected is not None:
            assert tool[0] == f"<|im_end|>\n<|im_start|>tool\n{expected}<|im_end|>\n<|im_start|>assistant\n"
            checked += 1
        void = any(not turn["has_code"] and not turn["has_answer"] for turn in line["turns"])
        assert line["fate"] == ("mask" if void else "train")
    assert checked >= 5
