"""The numbers of a benchmark by hand, the same in every form, and beside published ones."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from math_answers import Verdict
from tir_tools.evaluation.protocol import PRESETS, Protocol, departures
from tir_tools.evaluation.published import (
    REGISTRY,
    RegistryError,
    canonical_name,
    distances,
    parse,
    published,
    registry,
)
from tir_tools.evaluation.report import EvaluationReport
from tir_tools.evaluation.results import Answered, BenchmarkResult, benchmark_result
from tir_tools.evaluation.samples import Sample
from tir_tools.evaluation.settings import EvalSettings
from tir_tools.evaluation.statistics import Estimate
from verl_tir.trajectory import StopReason

RIGHT, WRONG, NONE = Verdict.CORRECT, Verdict.WRONG, Verdict.NO_ANSWER
UNDECIDED, ABORTED = Verdict.UNDECIDED, None
PLAIN = Sample("k", RIGHT, True, "1", StopReason.ANSWER, 2, True, 2, 1, False, False, 100)


def answered(*given: tuple[Verdict | None, int | None]) -> Answered:
    """A problem by its samples' statuses and votes."""
    return Answered(tuple(replace(PLAIN, verdict=verdict) for verdict, _ in given), tuple(vote for _, vote in given))


PROBLEMS = [
    answered((RIGHT, 0), (RIGHT, 0), (WRONG, 1), (WRONG, 1)),
    answered((WRONG, 1), (WRONG, 1), (NONE, None), (RIGHT, 0)),
    answered((WRONG, 1), (RIGHT, 0), (UNDECIDED, None), (ABORTED, None)),
]


def test_the_numbers_of_a_benchmark_by_hand() -> None:
    """Averages over samples, then problems; what is undecided or aborted is in none, and is counted."""
    result = benchmark_result("b", PROBLEMS, 4)
    values = {name: estimate.value for name, estimate in result.metrics.items()}
    assert values["avg@4"] == pytest.approx((1 / 2 + 1 / 4 + 1 / 2) / 3)
    assert values["pass@1"] == pytest.approx(values["avg@4"])
    # 1 - C(2,2)/C(4,2), 1 - C(3,2)/C(4,2), and both of the two that were decided.
    assert values["pass@2"] == pytest.approx((5 / 6 + 1 / 2 + 1) / 3)
    # The third problem has fewer than four decided samples; the first is a tie, the second lost.
    assert values["pass@4"] == 1.0
    assert values["maj@4"] == pytest.approx((1 / 2 + 0) / 2)
    assert (values["turns"], values["tool_use"], values["code_pass"]) == (2.0, 1.0, 0.5)
    assert values["no_answer"] == pytest.approx(1 / 10)
    assert (values["response_tokens"], values["response_tokens_p95"]) == (100.0, 100.0)
    assert (result.counts[UNDECIDED], result.counts["aborted"], result.missing) == (1, 1, 0)
    assert [note.split(" ")[0] for note in result.notes] == ["1", "3"]
    assert all(item.low <= item.value <= item.high for item in result.metrics.values() if item.low is not None)


def test_lenient_accuracy_is_beside_the_strict_one() -> None:
    """Over the same decided samples, and in the table by its name."""
    said = replace(PLAIN, verdict=WRONG, lenient=True), replace(PLAIN, verdict=NONE, lenient=False)
    result = benchmark_result("b", [Answered((PLAIN, *said), (0, 1, None)), answered((ABORTED, None))], 3)
    assert result.metrics["avg@3"].value == pytest.approx(1 / 3)
    assert result.metrics["lenient"].value == pytest.approx(2 / 3)
    assert "| lenient accuracy | 66.7% " in EvaluationReport(SETTINGS, (result,), ()).markdown()


def test_a_benchmark_of_which_nothing_is_known() -> None:
    """No number is made up."""
    result = benchmark_result("b", [answered((ABORTED, None)), Answered((), ())], 2)
    assert (dict(result.metrics), result.missing, result.accuracy) == ({}, 3, None)
    assert "2 problems have no decided sample" in result.notes[0]


def test_an_interval_without_width_is_said_to_say_nothing() -> None:
    """A model that solves nothing has an interval from 0 to 0, which nobody should believe."""
    result = benchmark_result("b", [answered((WRONG, 1))] * 60, 1)
    assert result.accuracy == Estimate(0.0, 0.0, 0.0)
    assert "no width" in result.notes[-1]
    assert not any("are few" in note for note in result.notes)


def test_votes_go_with_samples() -> None:
    """A vote too many would shift all behind it."""
    with pytest.raises(ValueError, match="1 samples and 2 votes"):
        Answered((PLAIN,), (0, 0))


SETTINGS = EvalSettings("/models/m", "f", {"math-ai/aime25": "s"}, 4, {"tir.recipe": "simpletir"})


def report() -> EvaluationReport:
    """With one benchmark that has a published result and one that has none."""
    results = (benchmark_result("math-ai/aime25", PROBLEMS, 4), benchmark_result("my | own", PROBLEMS[:1], 4))
    return EvaluationReport(SETTINGS, results, tuple(distances(results, [published("simpletir-7b")])))


def test_markdown_and_json_hold_the_same_numbers() -> None:
    """Each value of the JSON file stands in the Markdown table, rounded."""
    shown, record = report().markdown(), json.loads(json.dumps(report().record()))
    accuracy = record["benchmarks"][0]["metrics"]["avg@4"]
    assert f"{100 * accuracy['value']:.1f}% [{100 * accuracy['low']:.1f}, {100 * accuracy['high']:.1f}]" in shown
    names = set(record["benchmarks"][0]["metrics"])
    assert all(f"| {name} |" in shown for name in names if "@" in name)
    rows = [line for line in shown.splitlines() if line.startswith("| ")]
    assert len({line.replace("\\|", "").count("|") for line in rows[: len(names) + 4]}) == 1
    assert "| undecided, in no number | 1 | 0 |" in shown
    assert record["compared"][0]["theirs"] == 30.9
    assert "4 samples per problem; recipe simpletir" in shown


def test_the_distance_to_a_paper() -> None:
    """Ours less theirs, in points, and whether theirs lies in our interval."""
    metrics = {"avg@32": Estimate(0.40, 0.30, 0.48)}
    result = BenchmarkResult("HuggingFaceH4/aime_2024", 30, 32, {}, 0, metrics, ())
    near, far = distances([result], [published("torl-7b"), published("simpletir-7b")])
    assert (near.difference, near.inside) == (pytest.approx(-3.3), True)
    assert (far.difference, far.inside) == (pytest.approx(-10.5), False)
    assert distances([replace(result, name="gsm8k")], [published("torl-7b")]) == []


@pytest.mark.parametrize(
    ("data_source", "name"),
    [
        ("math-ai/aime25", "aime25"),
        ("AIME_2024", "aime24"),
        ("HuggingFaceH4/MATH-500", "math500"),
        ("OlympiadBench", "olympiad"),
        ("amc23", "amc23"),
        ("MathArena/hmmt_feb_2025", "hmmt25"),
        ("verl_tir_demo", None),
        ("simplelr_math_35", None),
    ],
)
def test_a_benchmark_goes_by_many_names(data_source: str, name: str | None) -> None:
    """Whatever the file's author called it."""
    assert canonical_name(data_source) == name


def test_the_registry_holds_the_papers_tables() -> None:
    """Both sizes of each, and the ablation; each under the protocol that it was measured with."""
    assert published("simpletir-7b").results == {
        "aime24": 50.5,
        "aime25": 30.9,
        "math500": 88.4,
        "olympiad": 54.8,
        "amc23": 79.1,
        "hmmt25": 29.7,
    }
    assert published("torl-1.5b").results["math500"] == 77.8
    assert published("simpletir-7b-naive-multi-turn").results == {"aime24": 20.8, "math500": 73.1}
    assert {key.split("-")[0]: item.protocol for key, item in registry().items()} == {
        "simpletir": Protocol.SIMPLETIR,
        "torl": Protocol.TORL,
    }
    with pytest.raises(RegistryError, match=r"no published result 'gpt'; there are: simpletir-7b, "):
        published("gpt")


ENTRY = json.loads(REGISTRY.read_text())[0]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"results": {"aime99": 1.0}}, "unknown benchmark 'aime99'"),
        ({"results": {"aime24": 101.0}}, "aime24=101.0 is not a percentage"),
        ({"results": {}}, "no results"),
        ({"arxiv": "none"}, "not an arXiv number"),
        ({"protocol": "guess"}, "guess"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_entry_is_refused(change: dict, complaint: str) -> None:
    """The message names the entry and what is wrong with it."""
    with pytest.raises(RegistryError, match=rf"published result 'simpletir-7b'.*{complaint}"):
        parse([ENTRY | change])


def test_an_entry_is_there_once() -> None:
    """Two of one key would hide one."""
    with pytest.raises(RegistryError, match="twice"):
        parse([ENTRY, ENTRY])


def test_the_presets_are_the_papers() -> None:
    """SimpleTIR: temperature 1, 32 samples, 10 turns, 12k and 36k tokens. ToRL: greedy, one tool call, 3072 tokens."""
    simpletir, torl = PRESETS[Protocol.SIMPLETIR], PRESETS[Protocol.TORL]
    assert (simpletir.samples, simpletir.temperature, simpletir.max_turns) == (32, 1.0, 10)
    assert (simpletir.max_turn_tokens, simpletir.max_response_tokens) == (12288, 36864)
    assert (torl.samples, torl.temperature, torl.max_tool_calls, torl.max_response_tokens) == (1, 0.0, 1, 3072)
    assert torl.overrides()["actor_rollout_ref.rollout.val_kwargs.do_sample"] is False


def test_a_comparison_says_what_was_done_otherwise() -> None:
    """Fewer samples or tokens than the paper's make another measurement; a longer room for prompts does not."""
    simpletir = PRESETS[Protocol.SIMPLETIR]
    launch = {key: None if value == "null" else value for key, value in simpletir.overrides().items()}
    launch |= {"tir.prompt.template": "simpletir", "data.max_prompt_length": 9999}
    assert departures(Protocol.SIMPLETIR, 32, launch) == []
    launch |= {"tir.rollout.max_tool_calls": 3, "actor_rollout_ref.rollout.val_kwargs.temperature": 0.6}
    assert departures(Protocol.SIMPLETIR, 8, launch) == [
        "samples 8 (simpletir: 32)",
        "max_tool_calls 3 (simpletir: none)",
        "temperature 0.6 (simpletir: 1)",
    ]
    assert "not measured as the published results of simpletir were: samples 4 (simpletir: 32)" in report().notes()
