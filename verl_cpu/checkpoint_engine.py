"""Weights from the trainer to standalone vLLM replicas over gloo.

`trainer.v1.trainer_mode=separate_async` needs a checkpoint engine that crosses processes; those of verl need an
accelerator or a fabric (nccl, hccl, nixl, mooncake). This one registers under verl's backend name `gloo`.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
import torch
from torch.distributed import ProcessGroupGloo, TCPStore
from verl.checkpoint_engine.base import CheckpointEngine, CheckpointEngineRegistry

_TIMEOUT = timedelta(seconds=600)
"""Of one message; the trainer may be busy for long while the first one is waited for."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where the workers of one weight update find each other."""

    host: str
    port: int


@CheckpointEngineRegistry.register("gloo")
class GlooCheckpointEngine(CheckpointEngine):
    """Broadcasts full tensors from actor rank 0 to every rollout worker, in a group that lives for one update.

    Actor ranks above 0 hold no part of a full tensor that rank 0 lacks; they only take part in gathering it.
    """

    def __init__(self, bucket_size: int, is_master: bool = False) -> None:
        self.bucket_size = bucket_size
        """Bytes of weights in one message; a larger tensor is one message by itself."""
        self.is_master = is_master
        self._store: TCPStore | None = None
        self._group: ProcessGroupGloo | None = None

    def prepare(self) -> Meeting | None:
        """Open the meeting place, in the sender."""
        if not self.is_master:
            return None
        host = ray.util.get_node_ip_address()
        # Port 0: a free one.
        self._store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=_TIMEOUT)
        return Meeting(host, self._store.port)

    @classmethod
    def build_topology(
        cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[Meeting | None]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Actor rank 0 is rank 0 of the group, the rollout workers follow; rank -1 stays out."""
        size = 1 + rollout_world_size
        actor = {"rank": [0] + [-1] * (actor_wg_world_size - 1)}
        rollout = {"rank": list(range(1, size))}
        for side in (actor, rollout):
            count = len(side["rank"])
            side |= {"world_size": [size] * count, "meeting": [metadata[0]] * count}
        return actor, rollout

    def init_process_group(self, rank: int, world_size: int, meeting: Meeting) -> None:
        """Join the group of this update."""
        if rank < 0:
            return
        if self._store is None:
            self._store = TCPStore(meeting.host, meeting.port, wait_for_workers=False, timeout=_TIMEOUT)
        self._group = ProcessGroupGloo(self._store, rank, world_size, _TIMEOUT)

    def finalize(self) -> None:
        """Leave the group."""
        self._group = None
        self._store = None

    @torch.no_grad()
    async def send_weights(
        self, weights: Iterable[tuple[str, torch.Tensor]], global_steps: int | None = None
    ) -> dict[str, float]:
        """Send all weights, or, outside the group, only take part in gathering them; there are no metrics."""
        bucket: dict[str, torch.Tensor] = {}
        size = 0
        for name, weight in weights:
            if self._group is None:
                continue
            if bucket and size + weight.nbytes > self.bucket_size:
                await self._send(self._group, bucket)
                bucket, size = {}, 0
            bucket[name] = weight
            size += weight.nbytes
        if self._group is not None:
            if bucket:
                await self._send(self._group, bucket)
            # An empty bucket is the end.
            await self._send(self._group, {})
        return {}

    async def receive_weights(self, global_steps: int | None = None) -> AsyncGenerator[tuple[str, torch.Tensor], None]:
        """Yield every weight by name."""
        assert self._group is not None, "verl lets every rollout worker join before it updates"
        while bucket := await self._receive(self._group):
            for name, weight in bucket.items():
                yield name, weight

    async def _send(self, group: ProcessGroupGloo, bucket: dict[str, torch.Tensor]) -> None:
        file = io.BytesIO()
        # A view would be saved with all of what it is a view of.
        torch.save({name: weight.clone() for name, weight in bucket.items()}, file)
        message = torch.frombuffer(file.getbuffer(), dtype=torch.uint8)
        await _broadcast(group, torch.tensor([len(message)]))
        await _broadcast(group, message)

    async def _receive(self, group: ProcessGroupGloo) -> dict[str, torch.Tensor]:
        length = torch.zeros(1, dtype=torch.int64)
        await _broadcast(group, length)
        message = torch.empty(int(length), dtype=torch.uint8)
        await _broadcast(group, message)
        return torch.load(io.BytesIO(message.numpy().tobytes()))


async def _broadcast(group: ProcessGroupGloo, tensor: torch.Tensor) -> None:
    """Send from rank 0, or receive into `tensor`; in a thread, for Ray's actors answer other calls meanwhile."""
    await asyncio.to_thread(lambda: group.broadcast(tensor, 0).wait())
