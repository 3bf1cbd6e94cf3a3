"""What a program reads in place of facts about the machine: accounts, addresses, disks, the kernel's command line.

Of /proc it sees what libraries and tools read to compute; a list of what to hide would always lack something.
"""

import os

from sandbox_server import linux

_SHOWN = ("cpuinfo", "filesystems", "meminfo", "stat", "uptime", "version")
"""Of /proc, beside the processes and what leads to them."""

_REPLACED = {"loadavg": "0.00 0.00 0.00 1/1 1\n"}  # os.getloadavg wants three numbers

_EMPTY_FILE, _EMPTY_DIRECTORY = "/dev/.hidden-file", "/dev/.hidden-directory"


def prepare(root: str, user: int) -> None:
    """Write, while `root` can still be written to, accounts with `user` for programs, and what covers /proc's files."""
    os.makedirs(f"{root}/etc", exist_ok=True)
    account = "" if user in (0, 65534) else f"sandbox:x:{user}:65534:sandbox:/tmp:/bin/sh\n"
    _write(f"{root}/etc/passwd", f"root:x:0:0:root:/:/bin/sh\n{account}nobody:x:65534:65534:nobody:/:/bin/sh\n")
    _write(f"{root}/etc/group", "root:x:0:\nnogroup:x:65534:\n")
    _write(f"{root}/etc/hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n")
    for name, content in _REPLACED.items():
        _write(root + _replacement(name), content)
    os.close(os.open(root + _EMPTY_FILE, os.O_CREAT, 0))
    os.mkdir(root + _EMPTY_DIRECTORY, 0o555)


def cover_proc(root: str) -> None:
    """Cover everything in the /proc of `root` that tells about, or steers, the machine. Raises OSError."""
    for entry in os.listdir(f"{root}/proc"):
        path = f"{root}/proc/{entry}"
        if entry.isdigit() or entry in _SHOWN or os.path.islink(path):
            continue
        hidden = _EMPTY_DIRECTORY if os.path.isdir(path) else _EMPTY_FILE
        linux.mount(root + (_replacement(entry) if entry in _REPLACED else hidden), path, "none", linux.MS_BIND)


def _replacement(name: str) -> str:
    return f"/dev/.{name}"


def _write(path: str, content: str) -> None:
    with open(path, "w") as file:
        file.write(content)
