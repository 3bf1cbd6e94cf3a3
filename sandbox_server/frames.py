"""What the server and its workers say to each other, and how it is framed on a socket.

A frame is two big-endian lengths, four and eight bytes, then as many bytes of JSON and as many of content. JSON and not
pickle: the worker has just run a program that nobody vouches for, and the server must not execute what comes back.
Content is what programs are made of, are given and write. It is not in the JSON, so that a worker can pass it on
without having it in objects (see worker_channel.py).
"""

import json
import struct
from dataclasses import dataclass, field
from enum import StrEnum

from sandbox_server.isolation import Isolation

SIZES = struct.Struct(">IQ")
"""What a frame begins with: the bytes of JSON, and of content."""

_ENCODER = json.JSONEncoder(default=vars)


class Disconnected(Exception):
    """The other side has closed, or can no longer be understood."""


class Malformed(ValueError):
    """A frame that no worker would send."""


class ProgramStatus(StrEnum):
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

    files: dict[str, bytes] = field(default_factory=dict)
    """Relative path to content, written into the working directory before the run."""

    fetch_files: list[str] = field(default_factory=list)
    """Relative paths to return after the run."""

    cells: list[str] | None = None
    """Sources of a notebook's cells, in which case `code` is empty; None for a program."""

    cell_timeout: float = 0.0
    """Wall seconds after which a cell is interrupted; 0 for never."""


@dataclass(frozen=True)
class Order:
    """A job as its worker has it. Content: the code, the standard input, the cells in JSON, and each of the files."""

    run_timeout: float
    """As the job's."""

    memory_limit_mb: int
    """As the job's."""

    code_bytes: int
    """Bytes of the code."""

    stdin_bytes: int
    """Bytes of the standard input."""

    cells_bytes: int
    """Bytes of the cells."""

    cells: int | None
    """How many cells there are; None for a program."""

    cell_timeout: float
    """As the job's."""

    files: list[tuple[str, int]]
    """Relative path and bytes of each file."""

    fetch_files: list[str]
    """As the job's."""


@dataclass(frozen=True)
class Fetched:
    """The fetched files that exist; sent before the outcome, if there are any. Content: each of them."""

    files: list[tuple[int, int]]
    """Which of `fetch_files`, and bytes."""


@dataclass(frozen=True)
class OrderOutcome:
    """How an order ended, as its worker has it. Content: as `sizes` has it."""

    status: ProgramStatus
    """As the report's."""

    return_code: int | None = None
    """As the report's."""

    execution_time: float = 0.0
    """As the report's."""

    detail: str = ""
    """On Error, what went wrong in the sandbox."""

    began: bool = True
    """As the report's."""

    stdout_bytes: int = 0
    """Bytes of standard output."""

    stderr_bytes: int = 0
    """Bytes of standard error."""

    notebook_bytes: tuple[int, int, int] = (0, 0, 0)
    """Bytes of a notebook's record, and of standard output and error of a cell that did not end."""

    residue: str = ""
    """As the report's."""

    def sizes(self) -> tuple[int, ...]:
        """Bytes of each piece of content."""
        return (self.stdout_bytes, self.stderr_bytes, *self.notebook_bytes)


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
class ProgramReport:
    """How a job ended."""

    status: ProgramStatus
    """Finished also when the program failed; Error only when the sandbox did."""

    return_code: int | None = None
    """Exit status, negative for a signal; None when the time limit cut the program off."""

    execution_time: float = 0.0
    """Wall seconds from fork to exit."""

    stdout: str = ""
    """Standard output, up to the cap."""

    stderr: str = ""
    """Standard error, up to the cap; on Error, what went wrong in the sandbox."""

    began: bool = True
    """On Error, whether the program had begun, and may be what went wrong."""

    files: dict[str, str] = field(default_factory=dict)
    """Path to base64 content of the fetched files that exist."""

    cells: list[CellResult] | None = None
    """Of a notebook, the cells that ended and after them the one that did not, should there be one."""

    cells_finished: int = 0
    """Of a notebook, how many of its cells ended."""

    residue: str = ""
    """Why the worker could not clean up after the program, and ends after this report; empty when it could."""


@dataclass(frozen=True)
class Cancel:
    """Kill the running program: nobody waits for its result. Harmless when none runs."""


@dataclass(frozen=True)
class WorkerSpec:
    """Make a worker; sent to the zygote together with the worker's socket. The limits are those of ServerConfig."""

    index: int
    """Number of the worker, from 0."""

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

    uid: int | None = None
    """The user of the programs; None for the server's own."""


Frame = Hello | Order | Fetched | OrderOutcome | Cancel | WorkerSpec
_KINDS: dict[str, type] = {kind.__name__: kind for kind in (Hello, Order, Fetched, OrderOutcome, Cancel, WorkerSpec)}


def encode(frame: Frame) -> bytes:
    """The JSON of a frame."""
    # Not asdict(), which copies every value: this is on the way of every call.
    return _ENCODER.encode([type(frame).__name__, frame]).encode()


def decode(body: bytes) -> Frame:
    """The inverse of `encode`."""
    kind, fields = json.loads(body)
    if kind == OrderOutcome.__name__:
        fields["status"] = ProgramStatus(fields["status"])
        record, stdout, stderr = fields["notebook_bytes"]
        fields["notebook_bytes"] = (record, stdout, stderr)
    if kind == Fetched.__name__:
        fields["files"] = [(number, size) for number, size in fields["files"]]
    if kind == WorkerSpec.__name__:
        fields["isolation"] = Isolation(**fields["isolation"])
    return _KINDS[kind](**fields)


def pack(frame: Frame, content_bytes: int = 0) -> bytes:
    """A frame for a stream, but for its content, which must follow."""
    body = encode(frame)
    return SIZES.pack(len(body), content_bytes) + body
