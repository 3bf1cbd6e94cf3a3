"""The section `tir.filter`; `verl_tir.config` puts the sections together."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from verl_tir.rollout.config import STRICT, PositiveSeconds
from verl_tir.sampler.loss_plan import LossRule, OverlongPolicy, VoidPolicy

Share = Annotated[float, Field(ge=0, le=1)]
# An unquoted `off` in a YAML file is the boolean false.
Void = Annotated[VoidPolicy, BeforeValidator(lambda value: VoidPolicy.OFF if value is False else value)]


@dataclass(frozen=True, config=STRICT)
class FilterConfig:
    void: Void = VoidPolicy.MASK
    """What a void trajectory does to the update: `mask` takes it out of the loss, `suffix` only its first void turn and
    what follows, `off` trains on it."""
    void_in_baseline: bool = True
    """Whether a masked void trajectory's reward counts in its group's mean and deviation; if not, it leaves the
    batch."""
    overlong: OverlongPolicy = OverlongPolicy.KEEP
    """What a trajectory that used up its response budget does: `mask` takes it out of the loss, its reward stays."""
    min_reward_std: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = 1e-3
    """Another prompt takes the place of a group whose rewards have a smaller standard deviation; null for none."""
    accuracy_window: tuple[Share, Share] | None = None
    """Another prompt takes the place of a group whose share of correct answers lies outside; null for none."""
    min_usable_rows: Annotated[int, Field(ge=0)] = 0
    """Another prompt takes the place of a group with fewer trajectories in the loss; 0 for none."""
    max_refills: Annotated[int, Field(ge=0)] = 10
    """Groups per prompt of a batch that all gates together may replace before the run stops."""
    min_token_probability: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Tokens sampled with a lower probability leave the loss; null for none."""
    max_importance_ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None = None
    """Tokens with a higher importance ratio, of the trained policy to the one before the update, leave the loss; null
    for none."""
    cut_masked_rows: bool = True
    """Whether a trajectory that is out of the loss loses its tokens before verl computes log-probabilities and updates.
    Its reward stays in its group's baseline, and every other trajectory's loss is the same."""
    max_failed_groups: Share = 0.05
    """Share of a batch's prompt groups whose agent loop may raise before the run stops. Sandbox faults do not count:
    they end a trajectory, not a group."""
    max_aborted_ratio: Share = 0.2
    """Share of a batch's trajectories that the sandbox or the engine may abort before the run stops."""
    max_undecided_ratio: Share = 0.01
    """Share of a batch's answers that the reward may leave undecided before the log has an error. They leave the batch
    either way, and the run goes on."""
    min_sound_ratio: Share = 0.5
    """Share of a group's trajectories that must not have been aborted, and never fewer than two; another prompt is
    rolled out in place of a group with less."""
    poll_seconds: PositiveSeconds = 0.2
    """Seconds between two looks at the running trajectories; verl's own value is 2."""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> FilterConfig:
        if self.accuracy_window is not None and self.accuracy_window[0] > self.accuracy_window[1]:
            low, high = self.accuracy_window
            raise ValueError(f"accuracy_window=[{low:g}, {high:g}] is empty: put the lower end first")
        if not self.void_in_baseline and self.void is not VoidPolicy.MASK:
            raise ValueError(
                f"void_in_baseline=False takes void trajectories out of the batch, and void={self.void} trains on "
                "them: use void=mask, or void_in_baseline=true"
            )
        return self

    @property
    def loss_rule(self) -> LossRule:
        """As the gates and the plan of a batch take it."""
        return LossRule(self.void, self.void_in_baseline, self.overlong)
