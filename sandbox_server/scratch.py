"""The working directory of one program: made, filled, read back, and removed whatever the program made of it."""

import os
import random
import stat
import string

from sandbox_server.frames import Order
from sandbox_server.isolation import UNPRIVILEGED_GID
from sandbox_server.worker_channel import OrderReader

_random = random.SystemRandom()


def random_name() -> str:
    """The look of Python's temporary names, which is what Sandbox Fusion's tracebacks show."""
    return "tmp" + "".join(_random.choices(string.ascii_lowercase + string.digits, k=8))


def make_scratch(
    scratch: str, order: Order, orders: OrderReader, source: str, uid: int | None, opened: list[int]
) -> tuple[int, int]:
    """Make the directory `scratch` with the program, as `source` in it, and its files; owned by `uid` unless None.

    All content is taken from `orders`. Returns the descriptors of what the program reads on standard input and of a
    notebook's cells, which it adds to `opened` too: the caller closes them, whatever is raised.
    """
    os.mkdir(scratch, 0o700)
    _write(source, order.code_bytes, orders)
    stdin = _readable(order.stdin_bytes, orders, scratch, opened)
    cells = -1 if order.cells is None else _readable(order.cells_bytes, orders, scratch, opened)
    for name, size in order.files:
        path = os.path.join(scratch, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write(path, size, orders)
    orders.empty()
    if uid is None:
        return stdin, cells
    os.chown(scratch, uid, UNPRIVILEGED_GID)
    if not order.files:
        os.chown(source, uid, UNPRIVILEGED_GID)
        return stdin, cells
    for directory, directories, names in os.walk(scratch):
        for name in (*directories, *names):
            os.chown(os.path.join(directory, name), uid, UNPRIVILEGED_GID)
    return stdin, cells


def _write(path: str, size: int, orders: OrderReader) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        orders.pour(size, fd)
    finally:
        os.close(fd)


def _readable(size: int, orders: OrderReader, directory: str, opened: list[int]) -> int:
    fd = unnamed_file(directory) if size else os.open(os.devnull, os.O_RDONLY)
    opened.append(fd)
    if size:
        orders.pour(size, fd)
        os.lseek(fd, 0, os.SEEK_SET)
    return fd


def unnamed_file(directory: str) -> int:
    """A descriptor of a new, empty file on the file system of `directory`, gone when nobody has it open any more.

    What memfd_create(2) gives, which the call filter refuses to programs and hence to their worker.
    """
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError:  # not every file system has them; this one reports its own errors
        # Here, because what it brings along would be memory of every fork.
        import tempfile

        with tempfile.TemporaryFile(dir=directory) as file:
            return os.dup(file.fileno())


def fetchable(names: list[str], scratch: str, max_bytes: int) -> tuple[list[str], list[tuple[int, int]]]:
    """The paths of those files among `names` that exist, as far as they fit into `max_bytes` together.

    Beside the paths, for each of them, which of `names` it is, and its bytes.
    No link is followed out of the directory: a file with a second name may have that name anywhere, and is left out.
    So is one that cannot be read, whatever the reason.
    Call when no process of the program is left, or a file may change between the check and the reading.
    """
    paths, sizes = [], []
    # The program may have put a link in the place of the directory itself, whose own name is therefore taken as it is.
    root = os.path.join(os.path.realpath(os.path.dirname(scratch)), os.path.basename(scratch))
    for number, name in enumerate(names):
        try:
            path, known = _located(os.path.join(scratch, name))
            if not path.startswith(f"{root}/") or not stat.S_ISREG(known.st_mode):
                continue
            if known.st_nlink > 1 or known.st_size > max_bytes:
                continue
            os.chmod(path, 0o600)
            os.close(os.open(path, os.O_RDONLY | os.O_NOFOLLOW))
        except OSError:
            continue
        max_bytes -= known.st_size
        paths.append(path)
        sizes.append((number, known.st_size))
    return paths, sizes


def _located(path: str) -> tuple[str, os.stat_result]:
    """Where `path` leads to, without links, and what is there. Raises OSError.

    By the kernel, which follows few links and is quick: what Python does itself takes stack and time for each of them.
    """
    fd = os.open(path, os.O_PATH)
    try:
        return os.readlink(f"/proc/self/fd/{fd}"), os.fstat(fd)
    finally:
        os.close(fd)


def remove(path: str) -> None:
    """Remove a file or a tree, also one without permissions or deeper than paths are long. Raises OSError."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        os.unlink(path)
        return
    pending = [path]
    while pending:
        directory = pending.pop()
        os.chmod(directory, 0o700)
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    # Moved up to the top, so that neither paths nor this function's stack grow with the depth. By a
                    # name that the program could not know, or something would be there already.
                    pending.append(os.path.join(os.path.dirname(path), random_name()))
                    os.chmod(entry.path, 0o700)
                    os.rename(entry.path, pending[-1])
                else:
                    os.unlink(entry.path)
        os.rmdir(directory)
