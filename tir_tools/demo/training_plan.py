"""How much a demo run does, and how: the sizes and the training of a step, which differ for a toy and a real model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tir_tools.demo.folder import Origin


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What the launch command says beside recipe, model, data and seed. Lengths are in tokens."""

    train_problems: int
    """Generated ones, of all kinds; unused where the data are given."""
    val_problems_of_a_kind: int
    """The same for validation; a real model has as many again in new words."""
    prompts: int
    """Problems of a step, all in one update."""
    samples: int
    """Trajectories of each."""
    learning_rate: float
    temperature: float | None
    """Of the rollout; None for verl's. Validation is greedy."""
    max_prompt_length: int
    max_response_length: int
    max_turn_tokens: int
    template: str | None
    """`tir.prompt.template`, within the tokenizer's chat template; None for both as the recipe has them."""
    worked_examples: bool
    """Whether solved problems stand before each question."""
    max_tool_calls: int | None
    """Of a trajectory; None for the recipe's."""
    run_timeout: float
    """Seconds of one program."""
    rollout_dtype: str | None
    """Of vLLM's weights; None for the platform's choice."""
    max_refills: int | None
    """Groups per prompt that other prompts may replace because their rewards agree; None where such groups stay."""
    bypass_log_probs: bool
    """Whether the engine's log-probabilities are the old ones, so that the trainer computes them once a step."""
    test_every: int
    """Steps between validations."""
    save_every: int
    """Steps between checkpoints, a multiple of `test_every`: what a run resumes from has been validated."""


TOY = TrainingPlan(
    train_problems=1_800,
    val_problems_of_a_kind=10,
    prompts=16,
    samples=8,
    learning_rate=1.5e-4,
    temperature=None,
    max_prompt_length=64,
    max_response_length=112,
    max_turn_tokens=112,
    # The tiny model knows no English; its warm start taught it the format, so no instructions are put before it.
    template="none",
    worked_examples=False,
    max_tool_calls=None,
    run_timeout=1.0,
    # The tiny model is to agree with its trainer to rounding.
    rollout_dtype="float32",
    # Groups of so small a model often agree: replacing them would cost most of the demo's time.
    max_refills=None,
    bypass_log_probs=False,
    test_every=5,
    save_every=10,
)
TOY_MESSAGES = replace(TOY, max_response_length=288, max_turn_tokens=288)
"""For the toy's problems where a call is JSON and its result a message."""
TOY_GIVEN_DATA = replace(TOY, max_prompt_length=3072, max_response_length=256, max_turn_tokens=256)
"""For real problems: the tiny tokenizer needs about one token per character or two."""

REAL = TrainingPlan(
    train_problems=4_000,
    val_problems_of_a_kind=5,
    prompts=8,
    samples=12,
    learning_rate=3e-5,
    temperature=0.7,
    max_prompt_length=320,
    max_response_length=192,
    max_turn_tokens=96,
    template="none",
    worked_examples=True,
    max_tool_calls=None,
    run_timeout=2.0,
    rollout_dtype=None,
    # At first three groups in four are all wrong, and later as many all right.
    max_refills=60,
    bypass_log_probs=True,
    test_every=5,
    save_every=5,
)
"""For a pretrained model of some hundred million parameters and generated problems."""
REAL_GIVEN_DATA = replace(REAL, max_prompt_length=512, max_response_length=384, max_turn_tokens=160)
"""For problems such as GSM8K's, whose questions and programs are longer."""

STEP_SECONDS, START_SECONDS, MEMORY_GIB = 110, 160, 12
"""Of a run with `REAL` and 135 million parameters on two idle cores: a step, all before the first, and the most memory
that its processes hold together."""


def plan_of(origin: Origin) -> TrainingPlan:
    """What a run does in a step, by its model, data and recipe."""
    given = origin.train is not None or origin.val is not None
    if origin.model is None:
        chosen = TOY_GIVEN_DATA if given else TOY_MESSAGES if origin.recipe == "hermes" else TOY
    else:
        chosen = REAL_GIVEN_DATA if given else REAL
        if not origin.recipe.startswith("simpletir"):
            # Of another recipe's format the worked examples show nothing.
            chosen = replace(chosen, template=None, worked_examples=False)
    # ToRL's one call does not do for problems that take two.
    return replace(chosen, max_tool_calls=3) if origin.recipe == "torl" else chosen
