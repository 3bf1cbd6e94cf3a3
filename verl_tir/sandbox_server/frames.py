"""What the server and its workers say to each other, and how it is framed on a socket.

A frame is a four-byte big-endian length and that many bytes of JSON. JSON and not pickle: the worker has just run a
program that nobody vouches for, and the server must not execute what comes back.
"""

import json
import socket
import struct
from asyncio import StreamReader
from dataclasses import dataclass, field
from enum import StrEnum

from verl_tir.sandbox_server.isolation import FIRST_UID, Isolation

_HEADER = struct.Struct(">I")
_ENCODER = json.JSONEncoder(default=vars)


class RunStatus(StrEnum):
    """How a run ended; the values are Sandbox Fusion's."""

    FINISHED = "Finished"
    ERROR = "Error"
    TIME_LIMIT = "TimeLimitExceeded"


@dataclass(frozen=True)
class Hello:
    """The first frame of a worker (or of its keeper, when the worker could not be made)."""

    ready: bool
    """Whether jobs may be sent."""

    detail: str = ""
    """Why not, when not ready."""


@dataclass(frozen=True)
class Job:
    """One program to run, and its limits."""

    code: str
    """Python source."""

    run_timeout: float
    """Wall seconds before the program and all it started are killed."""

    memory_limit_mb: int
    """MiB of address space beyond the preloaded interpreter."""

    stdin: str = ""
    """What the program reads on standard input."""

    files: dict[str, str] = field(default_factory=dict)
    """Relative path to base64 content, written into the working directory before the run."""

    fetch_files: list[str] = field(default_factory=list)
    """Relative paths to return after the run."""

    cells: list[str] | None = None
    """Sources of a notebook's cells, in which case `code` is empty; None for a program."""

    cell_timeout: float = 0.0
    """Wall seconds after which a cell is interrupted; 0 for never."""


@dataclass(frozen=True)
class CellResult:
    """What one cell gave."""

    stdout: str = ""
    """Its standard output."""

    stderr: str = ""
    """Its standard error."""

    display: list[dict[str, object]] = field(default_factory=list)
    """What it displayed, each by MIME type."""

    error: list[dict[str, object]] = field(default_factory=list)
    """The exception that ended it: `ename`, `evalue` and `traceback`; empty when it succeeded."""


@dataclass(frozen=True)
class Report:
    """How a job ended."""

    status: RunStatus
    """Finished also when the program failed; Error only when the sandbox did."""

    return_code: int | None = None
    """Exit status, negative for a signal; None when the time limit cut the program off."""

    execution_time: float = 0.0
    """Wall seconds from fork to exit."""

    stdout: str = ""
    """Standard output, up to the cap."""

    stderr: str = ""
    """Standard error, up to the cap; on Error, what went wrong in the sandbox."""

    files: dict[str, str] = field(default_factory=dict)
    """Path to base64 content of the fetched files that exist."""

    cells: list[CellResult] | None = None
    """Of a notebook, the cells that ended and after them the one that did not, should there be one."""

    cells_finished: int = 0
    """Of a notebook, how many of its cells ended."""

    retiring: bool = False
    """Whether the worker ends after this report, for it could not clean up behind the program."""


@dataclass(frozen=True)
class Cancel:
    """Kill the running program: nobody waits for its result. Harmless when none runs."""


@dataclass(frozen=True)
class Hire:
    """Make a worker; sent to the zygote together with the worker's socket. The limits are those of ServerConfig."""

    index: int
    """Number of the worker, from 0; picks its user."""

    isolation: Isolation
    """How its programs are walled off."""

    scratch_root: str
    """Directory of the working directories, where the worker has no private /tmp."""

    max_processes: int
    """Processes and threads of one program."""

    max_open_files: int
    """File descriptors of one process."""

    max_file_mb: int
    """MiB of one written file."""

    max_output_bytes: int
    """Bytes kept of each output stream."""

    scratch_mb: int = 64
    """MiB of each private temporary directory."""

    @property
    def uid(self) -> int | None:
        """The user of the programs; None for the server's own."""
        return FIRST_UID + self.index if self.isolation.own_user else None


Frame = Hello | Job | Report | Cancel | Hire
_KINDS: dict[str, type] = {kind.__name__: kind for kind in (Hello, Job, Report, Cancel, Hire)}


def encode(frame: Frame) -> bytes:
    """The body of a frame."""
    # Not asdict(), which copies every value: this is on the way of every call.
    return _ENCODER.encode([type(frame).__name__, frame]).encode()


def decode(body: bytes) -> Frame:
    """The inverse of `encode`."""
    kind, fields = json.loads(body)
    if kind == Report.__name__:
        fields["status"] = RunStatus(fields["status"])
        if fields["cells"] is not None:
            fields["cells"] = [CellResult(**cell) for cell in fields["cells"]]
    if kind == Hire.__name__:
        fields["isolation"] = Isolation(**fields["isolation"])
    return _KINDS[kind](**fields)


def pack(frame: Frame) -> bytes:
    """A frame with its length, for a stream."""
    body = encode(frame)
    return _HEADER.pack(len(body)) + body


def receive(sock: socket.socket) -> Frame | None:
    """The next frame from a blocking socket, or None when the other side has closed."""
    header = _receive_exactly(sock, _HEADER.size)
    body = _receive_exactly(sock, _HEADER.unpack(header)[0]) if header else b""
    return decode(body) if body else None


def _receive_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = sock.recv(min(size - len(data), 1 << 20))
        if not part:
            return b""
        data += part
    return bytes(data)


async def receive_async(reader: StreamReader) -> Frame:
    """The next frame; raises asyncio.IncompleteReadError (an EOFError) when the other side has closed."""
    header = await reader.readexactly(_HEADER.size)
    return decode(await reader.readexactly(_HEADER.unpack(header)[0]))
