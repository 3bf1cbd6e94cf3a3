"""A worker's private view of the file system: temporary directories of its own, the server's home hidden."""

import functools
import os
import sys
from pathlib import Path

from verl_tir.sandbox_server import linux

SHARED_WRITABLE = ("/tmp", "/var/tmp", "/dev/shm")
"""Directories that every user may write to, through which one program could leave something for the next."""

_FLAGS = linux.MS_NOSUID | linux.MS_NODEV


@functools.cache
def interpreter_paths() -> tuple[str, ...]:
    """The directories that a program needs to import and to start Python again."""
    paths = {os.path.realpath(path) for path in (sys.prefix, sys.base_prefix)} | {sys.prefix, sys.base_prefix}
    return outermost(paths)


def outermost(paths: set[str]) -> tuple[str, ...]:
    """`paths` without those that lie inside another of them, sorted."""
    return tuple(sorted(p for p in paths if not any(q != p and Path(p).is_relative_to(q) for q in paths)))


def hidden_directories(needed: tuple[str, ...], home: str) -> tuple[str, ...]:
    """What to cover: the shared writable directories, the home, and what bars other users from `needed`.

    An interpreter below a home of mode 0700 (pyenv, conda, uv) is out of reach for a program that runs as another
    user; covering that home and showing only the interpreter inside opens the one and hides the rest.
    """
    barred = {
        str(parent) for path in needed for parent in Path(path).parents if parent.is_dir() and _barred(parent)
    } - {"/"}
    covered = {path for path in (*SHARED_WRITABLE, home) if path != "/" and os.path.isdir(path)}
    # A home such as /usr would cover the system itself.
    covered -= {path for path in covered if path in ("/usr", "/bin", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev")}
    covered -= {path for path in covered if path in needed}
    return outermost({os.path.realpath(path) for path in covered | barred})


def _barred(directory: Path) -> bool:
    return not directory.stat().st_mode & 0o001


def enter(max_mb: int) -> None:
    """Cover the directories, in this process's own mount namespace. Raises OSError when not permitted."""
    linux.mount("none", "/", "none", linux.MS_REC | linux.MS_PRIVATE)
    needed = interpreter_paths()
    hidden = hidden_directories(needed, os.path.expanduser("~"))
    for path in needed:
        if not any(Path(path).is_relative_to(directory) for directory in hidden):
            _show_read_only(path, path)
    for directory in hidden:
        inside = [path for path in needed if path != directory and Path(path).is_relative_to(directory)]
        # Opened before they are covered, and reached through these descriptors afterwards.
        handles = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in inside]
        writable = directory in map(os.path.realpath, SHARED_WRITABLE)
        linux.mount("tmpfs", directory, "tmpfs", _FLAGS, f"size={max_mb}m,mode={'1777' if writable else '0755'}")
        for path, handle in zip(inside, handles, strict=True):
            os.makedirs(path, mode=0o755, exist_ok=True)
            _show_read_only(f"/proc/self/fd/{handle}", path)
            os.close(handle)
    # The host's /proc would show the command lines of everybody's processes.
    linux.mount("proc", "/proc", "proc", _FLAGS | linux.MS_NOEXEC)


def _show_read_only(source: str, target: str) -> None:
    """Bind `source` on `target`: a program that runs as the server's own user must not rewrite the interpreter."""
    linux.mount(source, target, "none", linux.MS_BIND | linux.MS_REC)
    # In a user namespace, a remount that would take these flags away is refused.
    kept = os.statvfs(target).f_flag & (linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    linux.mount("none", target, "none", linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | kept)


def leftovers() -> tuple[Path, ...]:
    """What a program left behind in the temporary directories; an interpreter that lives there is not among it."""
    keep = interpreter_paths()
    found = []
    for directory in SHARED_WRITABLE:
        if os.path.isdir(directory):
            found += [p for p in Path(directory).iterdir() if not any(Path(k).is_relative_to(p) for k in keep)]
    return tuple(found)
