"""Frozen models without pinned memory.

verl puts FSDP2's policy of offloading to the CPU on every model that it only runs forward, the reference policy among
them, and asks for pinned memory, which torch has only for an accelerator. verl's engine imports the policy by name, so
it is replaced before verl's workers are imported.
"""

from __future__ import annotations

from torch.distributed.fsdp import CPUOffloadPolicy


def _unpinned(pin_memory: bool = True) -> CPUOffloadPolicy:
    """The policy for ordinary memory, whatever kind was asked for."""
    return CPUOffloadPolicy(pin_memory=False)


def install() -> None:
    """Make verl's FSDP engine offload to ordinary memory."""
    import verl.utils.fsdp_utils as fsdp_utils

    fsdp_utils.CPUOffloadPolicy = _unpinned
