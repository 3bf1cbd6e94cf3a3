"""Stock verl and vLLM on a machine without an accelerator; selected by `+platform=cpu`, never by itself.

Each workaround is in a file of its own and says which behaviour of verl or vLLM forces it. All of it is inert unless
selected, and refuses to act where there is an accelerator.
"""

from __future__ import annotations

import os

from verl_tir.cpu.accelerator import find_accelerator


class AcceleratorPresentError(RuntimeError):
    """`platform=cpu` was selected on a machine that has an accelerator."""


def activate() -> None:
    """Make verl run on the CPU in this process.

    Raises:
        AcceleratorPresentError: there is an accelerator, which training on the CPU would leave idle.
    """
    accelerator = find_accelerator()
    if accelerator is not None:
        raise AcceleratorPresentError(
            f"platform=cpu was selected, but this machine has an accelerator ({accelerator}): drop +platform=cpu"
        )
    os.environ["VERL_PLATFORM"] = "cpu"
    # verl registers its FSDP engine for "cuda" and "npu" only, though the class asks the platform for its device.
    os.environ["VERL_ENGINE_DEVICE"] = "cuda"

    from verl_tir.cpu import distribution, platform, process_group

    distribution.install()
    platform.install()
    process_group.install()
