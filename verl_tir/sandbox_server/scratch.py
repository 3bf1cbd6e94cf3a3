"""The working directory of one program: made, filled, read back, and removed whatever the program made of it."""

import base64
import os
import random
import string
from pathlib import Path

from verl_tir.sandbox_server.frames import Job
from verl_tir.sandbox_server.isolation import UNPRIVILEGED_GID

_random = random.SystemRandom()


def _random_name() -> str:
    # The look of Python's temporary names, which is what Sandbox Fusion's tracebacks show.
    return "tmp" + "".join(_random.choices(string.ascii_lowercase + string.digits, k=8))


def make_scratch(root: str) -> Path:
    """A new, empty directory below `root` that is nobody else's."""
    scratch = Path(root) / _random_name()
    scratch.mkdir(mode=0o700)
    return scratch


def write_inputs(job: Job, scratch: Path, uid: int | None) -> Path:
    """Write the program and its files, owned by `uid` unless None; returns the program's path."""
    source = scratch / (_random_name() + ".py")
    contents = {scratch / name: base64.b64decode(content) for name, content in job.files.items()}
    contents[source] = job.code.encode("utf-8", errors="surrogatepass")
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if uid is not None:
        for directory, _, names in os.walk(scratch):
            for path in (directory, *(os.path.join(directory, name) for name in names)):
                os.chown(path, uid, UNPRIVILEGED_GID)
    return source


def fetch(names: list[str], scratch: Path, max_bytes: int) -> dict[str, str]:
    """The files among `names` that exist, in base64. Symbolic links are not followed out of the directory.

    Call when no process of the program is left, or a file may change between the check and the reading.
    """
    found = {}
    for name in names:
        path = Path(os.path.realpath(scratch / name))
        if path.is_relative_to(os.path.realpath(scratch)) and path.is_file() and path.stat().st_size <= max_bytes:
            found[name] = base64.b64encode(path.read_bytes()).decode()
    return found


def remove(path: Path) -> None:
    """Remove a file or a tree, also one without permissions or deeper than paths are long. Raises OSError."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    pending, moved = [path], 0
    while pending:
        directory = pending.pop()
        directory.chmod(0o700)
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    # Moved up to the top, so that neither paths nor this function's stack grow with the depth.
                    moved += 1
                    os.chmod(entry.path, 0o700)
                    pending.append(Path(entry.path).rename(f"{path}.{moved}"))
                else:
                    os.unlink(entry.path)
        directory.rmdir()
