"""Stock verl and vLLM on a machine without an accelerator; a plugin of verl of its own, selected by `+platform=cpu`.

Each workaround is in a file of its own and says which behaviour of verl or vLLM forces it. All of it is inert unless
selected, and refuses to act where there is an accelerator.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points

from verl_cpu.accelerator import find_accelerator

_VLLM_HOOK = "verl_cpu"
_VLLM_HOOK_VALUE = "verl_cpu.vllm_engine:register"


class AcceleratorPresentError(RuntimeError):
    """`platform=cpu` was selected on a machine that has an accelerator."""


class VllmHookMissingError(RuntimeError):
    """vLLM would not load the hook that lets verl update its weights on a CPU."""


def activate() -> None:
    """Make verl run on the CPU in this process.

    Raises:
        VllmHookMissingError: vLLM is kept from loading its part, which it would do without a word.
        AcceleratorPresentError: there is an accelerator, which training on the CPU would leave idle.
    """
    accelerator = find_accelerator()
    if accelerator is not None:
        raise AcceleratorPresentError(
            f"platform=cpu was selected, but this machine has an accelerator ({accelerator}): drop +platform=cpu"
        )
    _check_vllm_hook()
    os.environ["VERL_PLATFORM"] = "cpu"
    # verl registers its FSDP engine for "cuda" and "npu" only, though the class asks the platform for its device.
    os.environ["VERL_ENGINE_DEVICE"] = "cuda"

    from verl_cpu import (
        distribution,
        packed_attention,
        pinned_memory,
        platform,
        process_group,
        shared_prefixes,
        threads,
        token_log_probs,
        value_model,
    )

    for part in (
        distribution,
        platform,
        process_group,
        pinned_memory,
        value_model,
        packed_attention,
        shared_prefixes,
        token_log_probs,
        threads,
    ):
        part.install()


def _check_vllm_hook() -> None:
    found = {hook.value for hook in entry_points(group="vllm.general_plugins", name=_VLLM_HOOK)}
    if found != {_VLLM_HOOK_VALUE}:
        raise VllmHookMissingError(
            f"the entry point {_VLLM_HOOK} of the group vllm.general_plugins is {', '.join(found) or 'missing'} "
            f"and not {_VLLM_HOOK_VALUE}: pip install --force-reinstall verl-tir, and in a checkout remove "
            "verl_tir.egg-info"
        )
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is not None and _VLLM_HOOK not in allowed.split(","):
        raise VllmHookMissingError(f"VLLM_PLUGINS={allowed} keeps {_VLLM_HOOK} out: add it, or unset VLLM_PLUGINS")
