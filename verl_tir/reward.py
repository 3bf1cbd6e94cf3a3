"""The reward function that verl calls.

reward.custom_reward_function.path=pkg://verl_tir.reward
reward.custom_reward_function.name=compute_score
"""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from math_answers import PoolLimits, Verdict, accepted_answers, last_boxed
from verl_tir.methods.response_worth import REWARD_KWARGS, Worth
from verl_tir.trajectory import FAILED_OUTCOMES, Outcome

if TYPE_CHECKING:
    from math_answers import ScoringPool

# verl passes these when a reward model is configured; a rule has no use for them.
_IGNORED_FROM_VERL = frozenset({"reward_router_address", "reward_model_tokenizer"})

_pools: dict[tuple[int, PoolLimits], "ScoringPool"] = {}
_pools_guard = threading.Lock()


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """The keys that `reward.custom_reward_function.reward_kwargs` takes, checked."""

    worth: Worth = field(default_factory=Worth)
    limits: PoolLimits = field(default_factory=PoolLimits)
    """In each of verl's `reward.num_workers` actors."""

    @classmethod
    def from_kwargs(cls, kwargs: Mapping[str, Any]) -> "RewardSettings":
        """The settings for `reward_kwargs`; what is not given is as by default.

        Raises:
            ValueError: a key is unknown or its value is wrong; the message names it and what is allowed.
        """
        worth, limits = ({setting.name for setting in fields(part)} for part in (Worth, PoolLimits))
        known = worth | limits
        if unknown := sorted(kwargs.keys() - known):
            raise ValueError(
                f"{REWARD_KWARGS}: unknown key {', '.join(unknown)}: remove it, or use one of "
                f"{', '.join(sorted(known))}"
            )
        parts = Worth(**{key: kwargs[key] for key in worth & kwargs.keys()})
        try:
            return cls(parts, PoolLimits(**{key: kwargs[key] for key in limits & kwargs.keys()}))
        except ValueError as error:
            raise ValueError(f"{REWARD_KWARGS}.{error}") from None


@dataclass(frozen=True)
class _FinalAnswer:
    """What the trajectory answered."""

    text: str | None
    """What stands between the braces of the box; None where there is no complete box."""
    is_from_tool: bool
    """Whether a program printed it, rather than the model."""


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> dict[str, float]:
    """Reward of one response: `correct_reward` if its boxed answer is the ground truth, else `wrong_reward`.

    Args:
        data_source: name of the data set, for messages only.
        solution_str: the decoded response. Read only where the rollout recorded no answer.
        ground_truth: the accepted answer as text or number, or a sequence of accepted answers.
        extra_info: may hold under `"tir"` what the rollout recorded: `"answer"`, the text between the braces of the
            final box, taken from the whole text (a response shows tool output cut short), or None;
            `"answer_source"`, `"model"`, `"tool"` or None; and `"turns"`, each with the `"outcome"` of its program.
        kwargs: the settings of `RewardSettings`, and what else verl passes.

    Returns:
        Always the same keys, all floats, since verl averages them: `score`; `correct`, 1 if it is; `boxed`, 1 if there
        is an answer; `tool_given`, 1 if a program printed it; `executable`, 1 if programs ran and all of them ended
        well (0 where none ran); `undecided`, 1 if the comparison could not be finished; `execution_penalty`, what was
        taken off.
        An undecided row scores `wrong_reward` and says nothing against the answer: leave it out of training.

    Raises:
        TypeError: a ground truth or record of a wrong type.
        ValueError: an unknown or wrong setting.
        ScoringError: comparisons are not possible at all.
    """
    settings = RewardSettings.from_kwargs(
        {key: value for key, value in kwargs.items() if key not in _IGNORED_FROM_VERL}
    )
    worth = settings.worth
    accepted = accepted_answers(ground_truth, f"a row of data source {data_source!r}")
    answer = _final_answer(solution_str, extra_info or {})
    verdict = Verdict.NO_ANSWER
    if answer.text is not None:
        verdict = await _pool(settings.limits).compare(answer.text, accepted)
    ran = _outcomes(extra_info or {})
    failed = bool(ran & FAILED_OUTCOMES)
    executable = bool(ran) and not failed
    return {
        "score": worth.of(verdict, executable=executable, failed=failed),
        # Not verl's "acc": validation counts a missing trajectory as acc=0, and a missing one is an outage's here.
        "correct": float(verdict is Verdict.CORRECT),
        "boxed": float(verdict is not Verdict.NO_ANSWER),
        "tool_given": float(answer.is_from_tool),
        "executable": float(executable),
        "undecided": float(verdict is Verdict.UNDECIDED),
        "execution_penalty": float(worth.execution_penalty if failed else 0.0),
    }


def _final_answer(solution_str: str, extra_info: Mapping[str, Any]) -> _FinalAnswer:
    record = extra_info.get("tir")
    # verl fills a field that some rows of a batch lack with None.
    if record is None:
        return _FinalAnswer(last_boxed(solution_str), is_from_tool=False)
    if not isinstance(record, Mapping) or "answer" not in record:
        raise TypeError(f'extra_info["tir"] must be a mapping with the key "answer", not {record!r:.200}')
    text = record["answer"]
    if text is not None and not isinstance(text, str):
        raise TypeError(f'extra_info["tir"]["answer"] must be text or None, not {text!r:.200}')
    return _FinalAnswer(text, is_from_tool=text is not None and record.get("answer_source") == "tool")


def _outcomes(extra_info: Mapping[str, Any]) -> set[str]:
    """What became of the programs that ran; one that the sandbox failed did not."""
    turns = (extra_info.get("tir") or {}).get("turns", ())
    return {turn["outcome"] for turn in turns} - {None, Outcome.FAULT}


def _pool(limits: PoolLimits) -> "ScoringPool":
    # The driver checks the settings above, and compares nothing.
    from math_answers import ScoringPool

    # With the process id, since a pool does not outlive a fork.
    key = (os.getpid(), limits)
    with _pools_guard:
        if key not in _pools:
            _pools[key] = ScoringPool(limits.workers, limits.timeout, limits.memory_limit_mb)
        return _pools[key]
