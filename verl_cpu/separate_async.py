"""What `trainer.v1.trainer_mode=separate_async` needs on a CPU.

verl imports it through `checkpoint_engine.custom_backend_module`, in the trainer, the actor workers and the workers of
standalone replicas, before it asks for the checkpoint engine.
"""

from __future__ import annotations

from verl_cpu import checkpoint_engine, model_copies

__all__ = ["checkpoint_engine"]

model_copies.install()
