"""A worker's own root directory: the system and the interpreter, read-only, and one bounded scratch.

What is not listed here is not there: homes, data, other programs' files, the job's own code. A list of what to hide
would always lack something.
"""

import functools
import os
import site
import socket
import sys
from pathlib import Path

from sandbox_server import host_facts, linux

SHARED_WRITABLE = ("/tmp", "/var/tmp", "/dev/shm")
"""Directories that every user may write to, through which one program could leave something for the next."""

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
_SETTINGS = (
    *("alternatives", "fonts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime"),
    *("mime.types", "nsswitch.conf", "os-release", "protocols", "services", "ssl/certs", "timezone"),
)
"""Below /etc: what the C library, Python and common libraries read. The rest may hold a site's secrets."""

# Not /dev/zero: shared mappings of it are memory that no limit counts (see call_filter). No terminals either.
_DEVICES = ("null", "full", "random", "urandom")
_DEVICE_LINKS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}

_STAGE = "/tmp"
_FLAGS = linux.MS_NOSUID | linux.MS_NODEV
_INODES_PER_MB = 256  # files of 4 KiB fill the scratch; smaller ones, and empty ones, run into this limit
_HOST_NAME = "sandbox"

_MOUNT_FLAGS = {
    "nosuid": linux.MS_NOSUID,
    "nodev": linux.MS_NODEV,
    "noexec": linux.MS_NOEXEC,
    "noatime": linux.MS_NOATIME,
    "nodiratime": linux.MS_NODIRATIME,
    "relatime": linux.MS_RELATIME,
    "nosymfollow": linux.MS_NOSYMFOLLOW,
}


@functools.cache
def interpreter_paths() -> tuple[str, ...]:
    """The directories that a program needs to import and to start Python again."""
    paths = {sys.prefix, sys.base_prefix}
    if site.ENABLE_USER_SITE:
        paths.add(site.getusersitepackages())
    return outermost({path for path in paths | {os.path.realpath(path) for path in paths} if os.path.isdir(path)})


def outermost(paths: set[str]) -> tuple[str, ...]:
    """`paths` without those that lie inside another of them, sorted."""
    return tuple(sorted(path for path in paths if not any(_inside(path, other) for other in paths if other != path)))


def visible_paths(library_path: str) -> tuple[str, ...]:
    """What programs see of the machine's files; `library_path` as in LD_LIBRARY_PATH."""
    libraries = {path for path in library_path.split(os.pathsep) if os.path.isabs(path) and os.path.isdir(path)}
    wanted = {*_SYSTEM, *(f"/etc/{name}" for name in _SETTINGS), *interpreter_paths(), *libraries} - {"/"}
    return outermost({os.path.normpath(path) for path in wanted if os.path.lexists(path)})


def enter(max_mb: int, user: int) -> None:
    """Make the new root, in this process's own mount namespace, and move there. Raises OSError when not permitted.

    `max_mb`: size of the scratch. `user`: who runs programs there.
    """
    linux.mount("none", "/", "none", linux.MS_REC | linux.MS_PRIVATE)
    umask = os.umask(0o022)
    paths = visible_paths(os.environ.get("LD_LIBRARY_PATH", ""))
    # Opened before the stage covers a part of them, and reached through these descriptors afterwards.
    handles = {path: os.open(path, os.O_PATH) for path in paths if not os.path.islink(path)}
    linux.mount("tmpfs", _STAGE, "tmpfs", _FLAGS, "size=1m,nr_inodes=4096,mode=0755")
    for path in paths:
        if os.path.islink(path):
            os.makedirs(_staged(os.path.dirname(path)), exist_ok=True)
            os.symlink(os.readlink(path), _staged(path))
    in_scratch = [path for path in handles if any(_inside(path, shared) for shared in SHARED_WRITABLE)]
    for path in handles.keys() - set(in_scratch):
        _show(handles[path], path)
    for directory in ("/proc", "/dev", *SHARED_WRITABLE):
        os.makedirs(_staged(directory), exist_ok=True)
    for name, suffix in _DEVICE_LINKS.items():
        os.symlink(f"/proc/self/fd{suffix}", _staged(f"/dev/{name}"))
    for name in _DEVICES:
        os.close(os.open(_staged(f"/dev/{name}"), os.O_CREAT, 0o600))
    host_facts.prepare(_STAGE, user)
    make_read_only(_STAGE)
    _mount_scratch(max_mb)
    _show_in_scratch({path: handles[path] for path in in_scratch})
    # Only now, for a device on a mount without devices does not work.
    for name in _DEVICES:
        linux.mount(f"/dev/{name}", _staged(f"/dev/{name}"), "none", linux.MS_BIND)
        # Which leaves the device to be written to, and its times, which everybody sees, alone.
        make_read_only(_staged(f"/dev/{name}"), devices=True)
    # The host's would show everybody's processes. Before the old one goes: a user namespace gets no other.
    linux.mount("proc", _staged("/proc"), "proc", _FLAGS | linux.MS_NOEXEC)
    host_facts.cover_proc(_STAGE)
    for handle in handles.values():
        os.close(handle)
    _change_root()
    os.umask(umask)
    socket.sethostname(_HOST_NAME)


def make_read_only(top: str, devices: bool = False) -> None:
    """Let nothing be written and no set-user-ID program gain on the mount `top` and all below it.

    Nor a device open, unless `devices`.
    """
    attributes, added = linux.MOUNT_ATTR_RDONLY | linux.MOUNT_ATTR_NOSUID, linux.MS_NOSUID
    if not devices:
        attributes, added = attributes | linux.MOUNT_ATTR_NODEV, added | linux.MS_NODEV
    try:
        linux.set_mount_attributes(top, attributes)
    except OSError:
        # A kernel before 5.12, or a container engine that does not know the call. Then one by one, with its own errors.
        for target, kept in mounts_below(top, Path("/proc/self/mountinfo").read_text()):
            flags = linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | added | kept
            linux.mount("none", target, "none", flags)


def mounts_below(top: str, mountinfo: str) -> tuple[tuple[str, int], ...]:
    """The mounts at and below `top` with the flags that a remount in a user namespace must not take away."""
    found = {}
    for line in mountinfo.splitlines():
        fields = line.split()
        target = fields[4].encode().decode("unicode_escape")  # blanks are written \040
        if _inside(target, top):
            found[target] = sum(_MOUNT_FLAGS.get(option, 0) for option in fields[5].split(","))
    return tuple(found.items())


def leftovers() -> tuple[str, ...]:
    """What a program left behind in the temporary directories; an interpreter that lives there is not among it."""
    # Strings and no Path objects: nearly always there is nothing, and the worker looks each time.
    paths = [f"{directory}/{name}" for directory in SHARED_WRITABLE for name in os.listdir(directory)]
    return tuple(path for path in paths if not any(_inside(kept, path) for kept in interpreter_paths()))


def _inside(path: str, directory: str) -> bool:
    # Whole names, as Path.is_relative_to compares them, in a fiftieth of the time.
    return f"{path}/".startswith(f"{directory}/")


def _staged(path: str) -> str:
    return _STAGE + path


def _show(handle: int, path: str) -> None:
    source, target = f"/proc/self/fd/{handle}", _staged(path)
    # A path through a link that is there already (/lib/python below /lib -> usr/lib) leads to what is shown anyway.
    if os.path.lexists(target):
        return
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT, 0o600))
    linux.mount(source, target, "none", linux.MS_BIND | linux.MS_REC)


def _show_in_scratch(handles: dict[str, int]) -> None:
    """Show what lies below the writable directories, where a program must not move or fill its parents either."""
    tops = {path: _first_below(path) for path in handles}
    for top in sorted({*tops.values()} - handles.keys()):
        os.mkdir(_staged(top))
        linux.mount("tmpfs", _staged(top), "tmpfs", _FLAGS, "size=64k,nr_inodes=256,mode=0755")
    for path, handle in handles.items():
        _show(handle, path)
    for top in {*tops.values()}:
        make_read_only(_staged(top))


def _first_below(path: str) -> str:
    """The first directory on the way from a writable one to `path`."""
    shared = next(directory for directory in SHARED_WRITABLE if _inside(path, directory))
    return f"{shared}/{path[len(shared) + 1 :].split('/')[0]}"


def _mount_scratch(max_mb: int) -> None:
    """One file system for all writable directories, so that its limits are the program's."""
    top = _staged("/tmp")
    linux.mount("tmpfs", top, "tmpfs", _FLAGS, f"size={max_mb}m,nr_inodes={max_mb * _INODES_PER_MB},mode=0755")
    handles = []
    for number, _ in enumerate(SHARED_WRITABLE):
        os.mkdir(f"{top}/{number}")
        os.chmod(f"{top}/{number}", 0o1777)
        handles.append(os.open(f"{top}/{number}", os.O_PATH))
    for handle, directory in zip(handles, SHARED_WRITABLE, strict=True):
        linux.mount(f"/proc/self/fd/{handle}", _staged(directory), "none", linux.MS_BIND)
        os.close(handle)


def _change_root() -> None:
    os.chdir(_STAGE)
    try:
        linux.pivot_root(".", ".")
    except OSError:
        # Refused by container engines' filters, and on an initial RAM disk. A move hides the old root as well from
        # processes that can neither mount nor change their root, but the kernel keeps it.
        linux.mount(_STAGE, "/", "none", linux.MS_MOVE)
        os.chroot(".")
    else:
        # The old root lies on top of the new one until here.
        linux.unmount(".")
    os.chdir("/")
