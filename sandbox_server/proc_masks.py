"""The parts of /proc that tell about, or steer, the machine rather than a process."""

import os

from sandbox_server import linux

_MASKED = (
    *("acpi", "asound", "bus", "config.gz", "driver", "dynamic_debug", "fs", "interrupts", "iomem", "ioports", "irq"),
    *("kallsyms", "kcore", "key-users", "keys", "kmsg", "kpagecgroup", "kpagecount", "kpageflags", "latency_stats"),
    *("modules", "mtrr", "pressure", "sched_debug", "schedstat", "scsi", "slabinfo", "softirqs", "swaps", "sys"),
    *("sysrq-trigger", "sysvipc", "timer_list", "timer_stats", "tty", "vmallocinfo", "zoneinfo", "allocinfo"),
)
_EMPTY_FILE, _EMPTY_DIRECTORY = "/dev/.hidden-file", "/dev/.hidden-directory"


def prepare(root: str) -> None:
    """Make what covers the masked parts, while `root` can still be written to."""
    os.close(os.open(root + _EMPTY_FILE, os.O_CREAT, 0))
    os.mkdir(root + _EMPTY_DIRECTORY, 0o555)


def cover(root: str) -> None:
    """Cover them in the /proc of `root`, with what is read-only already. Raises OSError."""
    for name in _MASKED:
        path = f"{root}/proc/{name}"
        if os.path.isdir(path):
            linux.mount(root + _EMPTY_DIRECTORY, path, "none", linux.MS_BIND)
        elif os.path.lexists(path):
            linux.mount(root + _EMPTY_FILE, path, "none", linux.MS_BIND)
