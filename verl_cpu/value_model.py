"""A critic with the attention that its configuration names.

verl loads the critic's model with flash-attention, which has no CPU build, whatever `critic.model.override_config`
says; and what fails there it takes for a model without a value head, for which it asks for the package trl. Its engine
looks the function up when it builds the model.
"""

from __future__ import annotations

from typing import Any

import torch


def _load(local_path: str, torch_dtype: torch.dtype, model_config: Any, trust_remote_code: bool) -> torch.nn.Module:
    """As verl's `load_valuehead_model`, for what transformers can load with a head of one value for each token."""
    from transformers import AutoModelForTokenClassification

    return AutoModelForTokenClassification.from_pretrained(
        pretrained_model_name_or_path=local_path,
        torch_dtype=torch_dtype,
        config=model_config,
        trust_remote_code=trust_remote_code,
    )


def install() -> None:
    """Make verl load the critic's model as its configuration says."""
    import verl.utils.model as model

    model.load_valuehead_model = _load
