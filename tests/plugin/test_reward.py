"""The contract between verl and the reward function."""

import inspect
from collections.abc import Mapping
from typing import Any

import pytest

from math_answers import ScoringPool, Verdict
from verl_tir.reward import compute_score

pytest.importorskip("math_verify")

KEYS = ["score", "correct", "boxed", "tool_given", "executable", "undecided", "execution_penalty"]


async def score(solution: str, ground_truth: Any = "5", extra_info: Any = None, **settings: Any) -> dict[str, float]:
    """One score, called by keyword as verl calls it."""
    return await compute_score(
        data_source="math", solution_str=solution, ground_truth=ground_truth, extra_info=extra_info, **settings
    )


def record(answer: str | None, source: str | None) -> Mapping[str, Any]:
    """What the rollout writes into extra_info."""
    return {"tir": {"answer": answer, "answer_source": source}, "num_turns": 2}


@pytest.mark.parametrize(
    ("solution", "extra_info", "expected"),
    [
        (r"so \boxed{5}", None, [1, 1, 1, 0, 0, 0, 0]),
        (r"so \boxed{6}", {}, [0, 0, 1, 0, 0, 0, 0]),
        ("so 5", {"tir": None}, [0, 0, 0, 0, 0, 0, 0]),
        ("\nCode execution result: 5\n", {}, [0, 0, 0, 0, 0, 0, 0]),
        (r"\boxed{6}", record("5", "tool"), [1, 1, 1, 1, 0, 0, 0]),
        (r"\boxed{6}", record("5", "model"), [1, 1, 1, 0, 0, 0, 0]),
        (r"\boxed{5}", record("6", "tool"), [0, 0, 1, 1, 0, 0, 0]),
        (r"\boxed{5}", record(None, None), [0, 0, 0, 0, 0, 0, 0]),
        (r"\boxed{5}", record("", "model"), [0, 0, 1, 0, 0, 0, 0]),
    ],
)
async def test_recorded_answer_beats_the_text(solution: str, extra_info: Any, expected: list[float]) -> None:
    """What the rollout recorded counts alone; without a record the text's last box does, and a bare number never."""
    result = await score(solution, extra_info=extra_info)
    assert list(result) == KEYS
    assert list(result.values()) == expected
    assert all(type(value) is float for value in result.values())


async def test_rewards_are_configurable() -> None:
    """A right answer, a wrong one and none at all get the configured rewards."""
    settings = {"correct_reward": 2, "wrong_reward": -1}
    assert (await score(r"\boxed{5}", **settings))["score"] == 2.0
    assert (await score(r"\boxed{6}", **settings))["score"] == -1.0
    assert (await score("5", **settings))["score"] == -1.0


# outcomes of the turns' programs, whether there is a penalty, whether the response is executable
PROGRAMS = {
    "no program": ([None, None], False, False),
    "no turn": ([], False, False),
    "all passed": (["success", "success", None], False, True),
    "the sandbox failed one": (["success", "fault"], False, True),
    "the sandbox failed all": (["fault", None], False, False),
    "one raised": (["success", "failed", "success"], True, False),
    "out of time": (["time_limit"], True, False),
    "out of memory": ([None, "memory_limit"], True, False),
}


@pytest.mark.parametrize(("outcomes", "penalised", "executable"), PROGRAMS.values(), ids=PROGRAMS)
async def test_programs_count_once_and_faults_never(
    outcomes: list[str | None], penalised: bool, executable: bool
) -> None:
    """Right and wrong answers lose and win the same; who writes no program does neither, nor does an outage count."""
    turns = {"turns": [{"outcome": outcome} for outcome in outcomes]}
    for answer, reward in (("5", 1.0), ("6", -1.0), (None, -1.0)):
        extra_info = {"tir": dict(record(answer, "model")["tir"]) | turns}
        settings = {"wrong_reward": -1.0, "extra_info": extra_info}
        assert (await score("", **settings))["score"] == reward
        result = await score("", execution_penalty=0.5, **settings)
        assert (result["score"], result["execution_penalty"]) == (reward - 0.5 * penalised, 0.5 * penalised)
        result = await score("", executable_reward=0.25, **settings)
        assert (result["score"], result["executable"]) == (reward + 0.25 * executable, executable)


async def test_a_boxed_answer_can_earn_a_part() -> None:
    """A wrong answer in a box lies between a right one and none."""
    settings = {"wrong_reward": -1.0, "boxed_reward": -0.5}
    rewards = [(await score(text, **settings))["score"] for text in (r"\boxed{5}", r"\boxed{6}", "5")]
    assert rewards == [1.0, -0.5, -1.0]


WORTHLESS = {
    "a penalty that rewards": ({"execution_penalty": -0.5}, r"execution_penalty=-0.5: .*give 0 or a positive number"),
    "no penalty": ({"execution_penalty": float("nan")}, r"execution_penalty=nan: .*give 0 or a positive number"),
    "an endless one": ({"execution_penalty": float("inf")}, r"execution_penalty=inf"),
    "a reward that costs": ({"executable_reward": -0.1}, r"executable_reward=-0.1: it is added"),
    "no number": ({"correct_reward": float("nan")}, r"correct_reward=nan: give a finite number"),
    "wrong is best": ({"wrong_reward": 2.0}, r"wrong_reward=2.0 .* below correct_reward=1.0"),
    "a box is best": ({"boxed_reward": 1.0}, r"boxed_reward=1.0, and both must be below correct_reward=1.0"),
    "text": ({"correct_reward": "1"}, r"correct_reward='1': give a number"),
    "a truth": ({"wrong_reward": False}, r"wrong_reward=False: give a number"),
    "nothing": ({"wrong_reward": None}, r"wrong_reward=None: give a number"),
    "more than a float": ({"correct_reward": 10**400}, r"correct_reward=10+: give a finite number"),
    "as much as a right one": ({"wrong_reward": 1}, r"wrong_reward=1 .* below correct_reward=1.0"),
    "no time": ({"timeout": 0}, r"timeout=0 .* must be above 0"),
    "time without end": ({"timeout": float("inf")}, r"timeout=inf .* at most 86400"),
    "time as text": ({"timeout": "5"}, r"timeout='5' must be a number, of seconds"),
    "no workers": ({"workers": 0}, r"workers=0 must be a whole number from 1 to 1024"),
    "half a worker": ({"workers": 1.5}, r"workers=1.5 must be a whole number"),
    "workers beyond any machine": ({"workers": 10**9}, r"workers=1000000000 must be a whole number from 1 to 1024"),
    "too little memory": ({"memory_limit_mb": 8}, r"memory_limit_mb=8 must be at least 256"),
    "more memory than there is": ({"memory_limit_mb": 2**44}, r"memory_limit_mb=\d+ must be .* at most 16777216"),
    "memory as text": ({"memory_limit_mb": "2g"}, r"memory_limit_mb='2g' must be a whole number"),
    "a box is worst": ({"boxed_reward": -1.0}, r"wrong_reward=0.0 must not be above boxed_reward=-1.0"),
}


@pytest.mark.parametrize(("settings", "message"), WORTHLESS.values(), ids=WORTHLESS)
async def test_rewards_that_teach_the_wrong_thing_are_refused(settings: dict[str, float], message: str) -> None:
    """A sign too many would reward programs that fail; the error names the key and what is allowed, bounds included."""
    with pytest.raises(ValueError, match=f"reward_kwargs.*{message}"):
        await score(r"\boxed{5}", **settings)


async def test_undecided_comparison_scores_as_wrong_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison without a result is marked for the sampler to leave out."""

    async def undecided(pool: ScoringPool, answer: str, accepted: list[str]) -> Verdict:
        return Verdict.UNDECIDED

    monkeypatch.setattr(ScoringPool, "compare", undecided)
    result = await score(r"\boxed{5}", wrong_reward=-1.0, boxed_reward=0.5)
    assert list(result.values()) == [-1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0]


class Array:
    """As much of a numpy array as the reward function looks at."""

    def __init__(self, items: list[Any]):
        self._items = items

    def tolist(self) -> list[Any]:
        """The items."""
        return self._items


@pytest.mark.parametrize("ground_truth", ["5", 5, 5.0, ["4", "5"], ("5",), Array(["7", "5"]), r"\frac{10}{2}"])
async def test_ground_truths_of_every_kind(ground_truth: Any) -> None:
    """Text, numbers, and lists of accepted answers are ground truths."""
    assert (await score(r"\boxed{5}", ground_truth))["correct"] == 1.0


@pytest.mark.parametrize("ground_truth", [None, [], {"answer": "5"}, True, ["5", None]])
async def test_ground_truth_of_a_wrong_type_is_refused(ground_truth: Any) -> None:
    """The error names the data source."""
    with pytest.raises(TypeError, match="'math'"):
        await score(r"\boxed{5}", ground_truth)


@pytest.mark.parametrize("bad", ["5", {"answer_source": "tool"}, {"answer": 5}])
async def test_record_of_a_wrong_type_is_refused(bad: Any) -> None:
    """A broken record is a fault of the rollout, not a wrong answer."""
    with pytest.raises(TypeError, match="tir"):
        await score(r"\boxed{5}", extra_info={"tir": bad})


async def test_unknown_setting_is_refused_and_verls_own_are_not() -> None:
    """A misspelt key is named together with the keys there are; what verl itself adds is ignored."""
    with pytest.raises(ValueError, match=r"reward_kwargs: unknown key corect_reward: .*correct_reward"):
        await score(r"\boxed{5}", corect_reward=1.0)
    result = await score(r"\boxed{5}", reward_router_address="host:1", reward_model_tokenizer=None)
    assert result["correct"] == 1.0


async def test_verl_loads_and_calls_the_function() -> None:
    """verl finds the function by its package path, keeps it asynchronous and hands it the configured settings."""
    omegaconf = pytest.importorskip("omegaconf")
    reward = pytest.importorskip("verl.trainer.ppo.reward")
    function = {
        "path": "pkg://verl_tir.reward",
        "name": "compute_score",
        "reward_kwargs": {"wrong_reward": -1.0},
    }
    config = omegaconf.OmegaConf.create({"reward": {"custom_reward_function": function}})
    loaded = reward.get_custom_reward_fn(config)
    assert inspect.iscoroutinefunction(loaded)
    arguments = {"data_source": "math", "solution_str": r"\boxed{6}", "ground_truth": "5", "extra_info": {}}
    assert (await loaded(**arguments))["score"] == -1.0


async def test_verl_reduces_the_extra_keys() -> None:
    """Every key becomes a validation mean."""
    metrics = pytest.importorskip("verl.trainer.ppo.metric_utils")
    results = [await score(rf"\boxed{{{n}}}") for n in (5, 6)]
    columns = {key: [result[key] for result in results] for key in KEYS}
    reduced = metrics.process_validation_metrics(["math", "math"], ["a", "a"], columns)["math"]
    assert reduced["correct"]["mean@2"] == 0.5
    assert reduced["boxed"]["mean@2"] == 1.0
    assert reduced["undecided", "execution_penalty"]["mean@2"] == 0.0
