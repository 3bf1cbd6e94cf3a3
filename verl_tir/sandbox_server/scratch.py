"""The working directory of one program: made, filled, read back, and removed whatever the program made of it."""

import base64
import os
import random
import stat
import string
from pathlib import Path

from verl_tir.sandbox_server.frames import Job
from verl_tir.sandbox_server.isolation import UNPRIVILEGED_GID

_random = random.SystemRandom()


def random_name() -> str:
    """The look of Python's temporary names, which is what Sandbox Fusion's tracebacks show."""
    return "tmp" + "".join(_random.choices(string.ascii_lowercase + string.digits, k=8))


def make_scratch(scratch: str, job: Job, source: str, uid: int | None) -> None:
    """Make the directory `scratch` with the program, as `source` in it, and its files; owned by `uid` unless None."""
    os.mkdir(scratch, 0o700)
    _write(source, job.code.encode("utf-8", errors="surrogatepass"))
    for name, content in job.files.items():
        path = os.path.join(scratch, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write(path, base64.b64decode(content))
    if uid is None:
        return
    os.chown(scratch, uid, UNPRIVILEGED_GID)
    if not job.files:
        os.chown(source, uid, UNPRIVILEGED_GID)
        return
    for directory, directories, names in os.walk(scratch):
        for name in (*directories, *names):
            os.chown(os.path.join(directory, name), uid, UNPRIVILEGED_GID)


def _write(path: str, content: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(content)


def fetch(names: list[str], scratch: str, max_bytes: int) -> dict[str, str]:
    """The files among `names` that exist, in base64, as far as they fit into `max_bytes` together.

    No link is followed out of the directory: a file with a second name may have that name anywhere, and is left out.
    So is one that cannot be read.
    Call when no process of the program is left, or a file may change between the check and the reading.
    """
    found = {}
    # The program may have put a link in the place of the directory itself, whose own name is therefore taken as it is.
    root = os.path.join(os.path.realpath(os.path.dirname(scratch)), os.path.basename(scratch))
    for name in names:
        path = Path(os.path.realpath(os.path.join(scratch, name)))
        if not path.is_relative_to(root):
            continue
        try:
            known = path.stat()
            if not stat.S_ISREG(known.st_mode) or known.st_nlink > 1 or known.st_size > max_bytes:
                continue
            path.chmod(0o600)
            content = path.read_bytes()
        except OSError:
            continue
        max_bytes -= len(content)
        found[name] = base64.b64encode(content).decode()
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
