"""One gloo process group.

verl builds the backend string `cpu:gloo,{device}:{backend}`; with the device "cpu" it names it twice, which torch
rejects. Callers import the function by name, so it is wrapped before verl's workers are imported.
"""

from __future__ import annotations

from functools import wraps


def install() -> None:
    """Make verl's workers initialise torch.distributed with plain gloo."""
    import verl.utils.distributed as distributed

    original = distributed.initialize_global_process_group_ray
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def initialize(timeout_second: int | None = None, backend: str | None = None) -> None:
        original(timeout_second=timeout_second, backend=backend or "gloo")

    distributed.initialize_global_process_group_ray = initialize
