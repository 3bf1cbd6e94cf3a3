"""What the demo's model was shown of its programs, worked out by other means."""

import re
from typing import Any

from verl_tir.rollout.observation import OBSERVATION_RULES, SIMPLETIR_FRAME, resolve_observation_rule

RESULT, REFERENCE, TORL = OBSERVATIONS = [resolve_observation_rule(name) for name in OBSERVATION_RULES]

# Whole numbers and their operators: a young model also writes `59*` or `007`, which are no expressions.
_NUMBER = r"(?:0|[1-9]\d*)"
_PROGRAM = re.compile(rf"```py\nprint\((-?{_NUMBER}(?:[*+-]{_NUMBER})*)\)\n```$")


def check_observations(dump: list[dict[str, Any]]) -> int:
    """Every observation of a plain arithmetic program is its result, computed here; returns how many there were."""
    checked = 0
    for line in dump:
        for turn in line["turns"]:
            program = _PROGRAM.search(turn["text"])
            # With more fences, the block that was run began before.
            if turn["observation"] and program and turn["text"].count("```") == 2:
                assert turn["observation"] == f"{SIMPLETIR_FRAME.before}{eval(program[1])}\n{SIMPLETIR_FRAME.after}"
                checked += 1
    return checked
