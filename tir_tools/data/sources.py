"""The data sets that `prepare` knows by name: where they lie on the hub, how their columns read, how many they are.

Names, columns and counts are those of the hub's repositories in 2025. A file that differs is an error that says how,
never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass

from tir_tools.data.columns import Columns
from tir_tools.data.problem import Role


@dataclass(frozen=True, slots=True)
class Source:
    """A data set."""

    name: str
    """Also its `data_source`, by which verl reports scores."""
    title: str
    role: Role
    repository: str
    """On the Hugging Face hub."""
    files: tuple[str, ...]
    """Patterns of its data files there: all are fetched, and the first that matches anything is read."""
    columns: Columns
    expected: int
    """Rows in the repository."""


_SOLVED = Columns(question=("problem", "question"), answer=("answer",), solution=("solution",))

SOURCES: tuple[Source, ...] = (
    Source(
        name="math",
        title="MATH, levels 1 to 5",
        role=Role.TRAIN,
        repository="DigitalLearningGmbH/MATH-lighteval",
        files=("data/train-*.parquet",),
        columns=Columns(
            question=("problem",), answer=(), solution=("solution",), level=("level",), subject=("type", "subject")
        ),
        expected=7_500,
    ),
    Source(
        name="deepscaler",
        title="DeepScaleR preview",
        role=Role.TRAIN,
        repository="agentica-org/DeepScaleR-Preview-Dataset",
        files=("deepscaler.json",),
        columns=Columns(question=("problem",), answer=("answer",)),
        expected=40_315,
    ),
    Source(
        name="numinamath",
        title="NuminaMath 1.5",
        role=Role.TRAIN,
        repository="AI-MO/NuminaMath-1.5",
        files=("data/train-*.parquet",),
        columns=Columns(
            question=("problem",),
            answer=("answer",),
            subject=("problem_type",),
            asked=("question_type",),
            valid=("problem_is_valid",),
        ),
        expected=896_215,
    ),
    Source(
        name="numinamath_cot",
        title="NuminaMath CoT (1.0)",
        role=Role.TRAIN,
        repository="AI-MO/NuminaMath-CoT",
        files=("data/train-*.parquet",),
        columns=Columns(question=("problem",), answer=(), solution=("solution",), subject=("source",)),
        expected=859_494,
    ),
    Source(
        name="simplerl_3to5",
        title="SimpleRL-Zoo, levels 3 to 5",
        role=Role.TRAIN,
        repository="hkust-nlp/SimpleRL-Zoo-Data",
        files=("simplelr_qwen_level3to5/train.parquet",),
        columns=Columns(
            question=("question", "extra_info.question"),
            answer=("gt_answer", "extra_info.answer", "answer"),
            level=("level", "extra_info.level"),
            subject=("subject", "extra_info.subject"),
        ),
        expected=8_523,
    ),
    Source(
        name="dapo",
        title="DAPO-Math-17k, duplicates removed",
        role=Role.TRAIN,
        repository="open-r1/DAPO-Math-17k-Processed",
        files=("all/train-*.parquet",),
        columns=Columns(question=("prompt",), answer=("solution", "reward_model.ground_truth")),
        expected=17_398,
    ),
    Source(
        name="aime24",
        title="AIME 2024, I and II",
        role=Role.BENCHMARK,
        repository="HuggingFaceH4/aime_2024",
        files=("data/train-*.parquet", "*.parquet"),
        columns=_SOLVED,
        expected=30,
    ),
    Source(
        name="aime25",
        title="AIME 2025, I and II",
        role=Role.BENCHMARK,
        repository="math-ai/aime25",
        files=("test.jsonl", "*.parquet"),
        columns=Columns(question=("problem", "question"), answer=("answer",)),
        expected=30,
    ),
    Source(
        name="math500",
        title="MATH500",
        role=Role.BENCHMARK,
        repository="HuggingFaceH4/MATH-500",
        files=("test.jsonl", "*.parquet"),
        columns=Columns(question=("problem",), answer=("answer",), level=("level",), subject=("subject",)),
        expected=500,
    ),
    Source(
        name="olympiadbench",
        title="OlympiadBench, English, maths, text only",
        role=Role.BENCHMARK,
        repository="Hothan/OlympiadBench",
        files=("*OE_TO_maths_en_COMP.parquet",),
        columns=Columns(question=("question",), answer=("final_answer",), subject=("subfield",), context=("context",)),
        expected=674,
    ),
    Source(
        name="amc23",
        title="AMC 2023",
        role=Role.BENCHMARK,
        repository="math-ai/amc23",
        files=("test-*.parquet", "*.parquet"),
        columns=Columns(question=("question", "problem"), answer=("answer",)),
        expected=40,
    ),
    Source(
        name="hmmt_feb_2025",
        title="HMMT, February 2025",
        role=Role.BENCHMARK,
        repository="MathArena/hmmt_feb_2025",
        files=("data/train-*.parquet", "*.parquet"),
        columns=Columns(question=("problem",), answer=("answer",), subject=("problem_type",)),
        expected=30,
    ),
)

BY_NAME = {source.name: source for source in SOURCES}
