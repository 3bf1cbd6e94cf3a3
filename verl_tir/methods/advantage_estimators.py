"""Which of verl's advantage estimators can train here, asked of a composed launch before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from omegaconf import DictConfig, OmegaConf

_NO_SUM_OF_SQUARES = (
    "verl's V1 trainer does not hand it the sums of squared probabilities, whatever "
    "actor_rollout_ref.actor.calculate_sum_pi_squared says"
)

REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "remax": "verl's V1 trainer does not roll out the greedy baselines that it takes off",
        "optimal_token_baseline": _NO_SUM_OF_SQUARES,
        "tir_optimal_token_baseline": _NO_SUM_OF_SQUARES,
        "gdpo": "verl's V1 trainer does not hand it the parts of the reward",
        "opo": (
            "it divides by a group's tokens in the loss; where there are none (a group that is masked throughout, or "
            "two of the empty rows that verl pads a batch with) the gradient is NaN and verl leaves the update out"
        ),
        "grpo_passk": "it raises where a group has one row, as has the padding of a batch that lacks one trajectory",
    }
)
"""verl's estimators that cannot work in its V1 trainer, or not with masked and missing trajectories, and why."""

ALLOWED = (
    "grpo",
    "grpo_vectorized",
    "rloo",
    "rloo_vectorized",
    "gpg",
    "reinforce_plus_plus_baseline",
    "reinforce_plus_plus",
    "gae",
)
"""All others of verl's. One that a user registers under a name of its own is neither refused nor known here."""

_GROUPED = frozenset(ALLOWED) - {"reinforce_plus_plus", "gae"}
"""They compare the rewards of a prompt's trajectories, summed whatever the mask; the others go back from the end over
the tokens in the loss."""


def estimator_problems(config: DictConfig) -> list[str]:
    """What keeps the chosen estimator from seeing every reward; one line per wrong key.

    Args:
        config: a composed launch; read are `algorithm`, `critic`, `reward.reward_model` and `actor_rollout_ref`.
    """
    algorithm, actor = config.algorithm, config.actor_rollout_ref.actor
    name, rollout_n = algorithm.adv_estimator, config.actor_rollout_ref.rollout.n
    problems = []
    if name in REFUSED:
        problems.append(f"algorithm.adv_estimator={name}: {REFUSED[name]}; choose one of {', '.join(ALLOWED)}")
    if name in _GROUPED and rollout_n < 2:
        problems.append(
            f"actor_rollout_ref.rollout.n={rollout_n}: the baseline of algorithm.adv_estimator={name} needs at least 2 "
            "samples a prompt"
        )
    critic = config.critic.enable if config.critic.enable is not None else name == "gae"
    if name == "gae" and not critic:
        problems.append("critic.enable=False: algorithm.adv_estimator=gae needs the critic's values; set it to null")
    if critic and config.critic.ppo_mini_batch_size != actor.ppo_mini_batch_size:
        problems.append(
            f"critic.ppo_mini_batch_size={config.critic.ppo_mini_batch_size}: no mini-batch may be masked throughout, "
            "which is seen to for those of one size; give it that of "
            f"actor_rollout_ref.actor.ppo_mini_batch_size={actor.ppo_mini_batch_size}"
        )
    if name == "gae" and algorithm.use_pf_ppo:
        problems.append(
            "algorithm.use_pf_ppo=True: verl's V1 trainer would give rows the advantages of those that it draws in "
            "their place; set it to false"
        )
    rejection = OmegaConf.select(config, "algorithm.rollout_correction.rollout_rs")
    bypass = OmegaConf.select(config, "algorithm.rollout_correction.bypass_mode")
    if name in ALLOWED and name not in _GROUPED and rejection and "token_" in rejection and not bypass:
        problems.append(
            f"algorithm.rollout_correction.rollout_rs={rejection}: a token that it rejects takes the reward at it away "
            f"from algorithm.adv_estimator={name}; reject whole sequences (seq_mean_k1), or set "
            "algorithm.rollout_correction.bypass_mode=true"
        )
    model = config.reward.reward_model
    if model.enable and not model.enable_resource_pool:
        problems.append(
            "reward.reward_model.enable_resource_pool=False: verl then computes rewards after the batch is chosen, and "
            "what is chosen depends on them; set it to true"
        )
    return problems
