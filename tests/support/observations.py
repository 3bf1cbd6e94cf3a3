"""What the demo's model was shown of its programs, worked out by other means."""

import itertools
import re
from typing import Any

from verl_tir.rollout.observation import PREFIX, SUFFIX


def check_observations(dump: list[dict[str, Any]]) -> int:
    """Every observation of a plain arithmetic program is its result, computed here; returns how many there were."""
    checked = 0
    for line in dump:
        for model, tool in itertools.pairwise(line["segments"]):
            program = re.search(r"```py\nprint\(([0-9*+-]+)\)\n```$", model["text"])
            # With more fences, the block that was run began before.
            if tool["role"] == "tool" and program and model["text"].count("```") == 2:
                assert tool["text"] == f"{PREFIX}{eval(program[1])}\n{SUFFIX}"
                checked += 1
    return checked
