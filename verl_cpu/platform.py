"""The CPU as one of verl's hardware platforms; verl 0.9 ships none."""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry, get_platform, set_platform


def _used(*_: Any, **__: Any) -> int:
    return psutil.Process().memory_info().rss


def _free_and_total(*_: Any, **__: Any) -> tuple[int, int]:
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _device_module() -> types.ModuleType:
    """`torch.cpu` with what verl calls on a device module and `torch.cpu` lacks.

    Memory is the process's and the machine's, in bytes; caches and IPC handles do not exist.
    """
    module = types.ModuleType("verl_cpu.device")
    module.__dict__.update(torch.cpu.__dict__)
    for name in ("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved"):
        setattr(module, name, _used)
    for name in ("empty_cache", "ipc_collect", "set_device", "reset_peak_memory_stats"):
        setattr(module, name, _nothing)
    module.mem_get_info = _free_and_total
    module.get_device_name = lambda *_: "cpu"
    module.manual_seed = module.manual_seed_all = torch.manual_seed
    module.get_rng_state = lambda *_: torch.get_rng_state()
    module.set_rng_state = lambda state, *_: torch.set_rng_state(state)
    return module


class PlatformCPU(PlatformBase):
    """verl's platform interface, answered for a machine without an accelerator."""

    def __init__(self) -> None:
        self._device_module = _device_module()

    @property
    def device_name(self) -> str:
        return "cpu"

    @property
    def vendor_name(self) -> str:
        return "cpu"

    @property
    def device_module(self) -> types.ModuleType:
        return self._device_module

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        # Never found by probing: the head node of a GPU cluster may have no GPU itself.
        return False

    def current_device(self) -> Any:
        # verl calls `.to(get_device_id())`, and an index would mean an accelerator.
        return torch.device("cpu")

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        """There is one device."""

    def synchronize(self, device_index: int | None = None) -> None:
        """Work on the CPU is done when the call returns."""

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        """The CPU allocator has none."""

    def empty_cache(self) -> None:
        """The CPU allocator keeps none."""

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        """No device profiler."""

    def profiler_stop(self) -> None:
        """No device profiler."""

    def ray_resource_name(self) -> str:
        # verl's resource manager counts "GPU" and "NPU" only; the yaml gives Ray logical ones.
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        # Weights then reach vLLM through shared memory.
        return False

    def cudart(self) -> None:
        return None


def install() -> None:
    """Register the platform and make it the current one, also where verl has already chosen another."""
    if PlatformRegistry.get("cpu") is not PlatformCPU:
        PlatformRegistry.register(platform="cpu")(PlatformCPU)
        set_platform(PlatformCPU())
    if get_platform().device_name != "cpu":
        raise RuntimeError(f"verl already runs on {get_platform().device_name!r} and cannot change to the CPU")
