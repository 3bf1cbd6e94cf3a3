"""What `separate_async` needs on a CPU: weights over gloo, and copies of the model that stay as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from verl.checkpoint_engine.base import CheckpointEngineRegistry

import verl_cpu.checkpoint_engine  # noqa: F401
from verl_cpu import model_copies

BUCKET = 64
WEIGHTS = {
    "small": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "half": torch.tensor([1.5, -2.25], dtype=torch.bfloat16),
    "larger than a bucket": torch.arange(100, dtype=torch.int64),
    "view": torch.arange(12, dtype=torch.float32).reshape(3, 4).t(),
    "scalar": torch.tensor(3.0),
}


async def send(weights: dict[str, torch.Tensor], actors: int, rollouts: int) -> list[dict[str, torch.Tensor]]:
    """One weight update as verl's manager runs it, all workers in this process; what each rollout worker got."""
    engine = CheckpointEngineRegistry.get("gloo")
    senders = [engine(bucket_size=BUCKET, is_master=rank == 0) for rank in range(actors)]
    receivers = [engine(bucket_size=BUCKET) for _ in range(rollouts)]
    workers = [*senders, *receivers]
    metadata = [worker.prepare() for worker in workers]
    # The group is complete when its last member has come, so all join at once.
    async with asyncio.TaskGroup() as group:
        for side, settings in zip((senders, receivers), engine.build_topology(actors, rollouts, metadata), strict=True):
            for rank, worker in enumerate(side):
                mine = {name: values[rank] for name, values in settings.items()}
                group.create_task(asyncio.to_thread(worker.init_process_group, **mine))

    async def receive(worker: object) -> dict[str, torch.Tensor]:
        return {name: weight.clone() async for name, weight in worker.receive_weights()}

    async with asyncio.TaskGroup() as group:
        received = [group.create_task(receive(worker)) for worker in receivers]
        for worker in senders:
            group.create_task(worker.send_weights(iter(weights.items())))
    for worker in workers:
        worker.finalize()
    return [task.result() for task in received]


@pytest.mark.parametrize(("actors", "rollouts"), [(1, 1), (2, 1), (1, 3)])
async def test_every_rollout_worker_gets_every_weight_as_it_is(actors: int, rollouts: int) -> None:
    """Names, order, types, shapes and values; a tensor above the bucket's size and one that is a view too."""
    for received in await send(WEIGHTS, actors, rollouts):
        assert list(received) == list(WEIGHTS)
        for name, weight in WEIGHTS.items():
            assert received[name].dtype == weight.dtype
            assert torch.equal(received[name], weight)


async def test_an_update_may_follow_an_update() -> None:
    """Each has a meeting place of its own."""

    async def twice() -> list[list[dict[str, torch.Tensor]]]:
        return [await send({"w": torch.tensor([step])}, 1, 2) for step in range(2)]

    assert [[int(got["w"]) for got in update] for update in await twice()] == [[0, 0], [1, 1]]


@pytest.fixture
def one_rank() -> Iterator[None]:
    """torch.distributed with this process alone."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_rank")
def test_a_saved_model_does_not_follow_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """verl's own save gives the live parameters on a CPU; with the copies, restoring brings the old weights back."""
    import verl.utils.fsdp_utils as fsdp_utils

    stock = fsdp_utils.fsdp2_sharded_save_to_cpu
    monkeypatch.setattr(fsdp_utils, "fsdp2_sharded_save_to_cpu", stock)
    model = torch.nn.Linear(2, 2)
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))

    def weight() -> torch.Tensor:
        return model.weight.to_local().detach().clone()

    def train_and_restore() -> torch.Tensor:
        saved = fsdp_utils.fsdp2_sharded_save_to_cpu(model)
        with torch.no_grad():
            model.weight.to_local().add_(1.0)
        fsdp_utils.fsdp2_sharded_load_from_cpu(model, *saved)
        return weight()

    before = weight()
    assert torch.equal(train_and_restore(), before + 1.0), "verl copies by itself now: model_copies can go"
    model_copies.install()
    model_copies.install()
    assert torch.equal(train_and_restore(), before + 1.0)
