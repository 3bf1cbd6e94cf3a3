"""A job on its way to a worker and what comes back, on the server's side: where content is text, and objects.

The worker has no content in objects (see worker_channel.py); it is encoded and decoded here, where nothing is ever
forked for a program. The worker's word is taken for sizes only within the server's own limits.
"""

import asyncio
import base64
import functools
import itertools
import json
from asyncio import StreamReader
from dataclasses import dataclass

from sandbox_server.frames import (
    SIZES,
    Fetched,
    Frame,
    Job,
    Malformed,
    Order,
    OrderOutcome,
    ProgramReport,
    decode,
    pack,
)
from sandbox_server.notebook_record import record_bytes, with_cells

_READ_HERE = 1 << 16  # bytes of a notebook's results that the event loop may read itself


@dataclass(frozen=True)
class ReplyBounds:
    """How much a worker may send of one program."""

    max_output_bytes: int
    """Of each output stream."""

    max_file_bytes: int
    """Of all fetched files together."""


def pack_job(job: Job) -> bytes:
    """The frame that has a worker run `job`."""
    code, stdin = _encoded(job.code), _encoded(job.stdin)
    cells = b"" if job.cells is None else _encoded(json.dumps(job.cells, ensure_ascii=False))
    order = Order(
        run_timeout=job.run_timeout,
        memory_limit_mb=job.memory_limit_mb,
        code_bytes=len(code),
        stdin_bytes=len(stdin),
        cells_bytes=len(cells),
        cells=None if job.cells is None else len(job.cells),
        cell_timeout=job.cell_timeout,
        files=[(name, len(content)) for name, content in job.files.items()],
        fetch_files=job.fetch_files,
    )
    content = (code, stdin, cells, *job.files.values())
    return b"".join((pack(order, sum(map(len, content))), *content))


async def receive_async(reader: StreamReader, longest: int) -> tuple[Frame, int]:
    """The next frame but for its content, and the bytes of that. Raises EOFError when the other side has closed.

    `longest`: bytes of JSON; more than that is Malformed, as is what cannot be decoded.
    """
    size, content_bytes = SIZES.unpack(await reader.readexactly(SIZES.size))
    if size > longest:
        raise Malformed(f"a frame of {size} bytes")
    body = await reader.readexactly(size)
    try:
        return decode(body), content_bytes
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Malformed(f"{type(error).__name__} in a frame") from error


async def receive_report(reader: StreamReader, job: Job, bounds: ReplyBounds) -> ProgramReport:
    """The report on `job`. Raises EOFError, or Malformed for what no worker would say."""
    longest = (1 << 16) + 64 * len(job.fetch_files)
    frame, size = await receive_async(reader, longest)
    files: dict[str, str] = {}
    if isinstance(frame, Fetched):
        files = await _receive_files(reader, frame, size, job, bounds)
        frame, size = await receive_async(reader, longest)
    if not isinstance(frame, OrderOutcome):
        raise Malformed(f"it answered {type(frame).__name__} to a job")
    output, notebook = bounds.max_output_bytes, 0 if job.cells is None else bounds.max_output_bytes
    record = 0 if job.cells is None else record_bytes(len(job.cells), output)
    _check(frame.sizes(), (output, output, record, notebook, notebook), size)
    content = memoryview(await reader.readexactly(size))
    ends = list(itertools.accumulate(frame.sizes()))
    stdout, stderr, *cells = (content[end - length : end] for length, end in zip(frame.sizes(), ends, strict=True))
    report = ProgramReport(
        status=frame.status,
        return_code=frame.return_code,
        execution_time=frame.execution_time,
        stdout=_decoded(stdout),
        stderr=frame.detail or _decoded(stderr),
        files=files,
        began=frame.began,
        residue=frame.residue,
    )
    if job.cells is None:
        return report
    read = functools.partial(with_cells, report, len(job.cells), output, *map(bytes, cells))
    # What the program can have written itself is not read where all calls wait for it.
    return read() if size <= _READ_HERE else await asyncio.to_thread(read)


async def _receive_files(
    reader: StreamReader, fetched: Fetched, size: int, job: Job, bounds: ReplyBounds
) -> dict[str, str]:
    numbers, lengths = [number for number, _ in fetched.files], [length for _, length in fetched.files]
    asked = range(len(job.fetch_files))
    if not all(type(number) is int and number in asked for number in numbers) or len({*numbers}) < len(numbers):
        raise Malformed("it sent files that nobody asked for")
    _check(tuple(lengths), (bounds.max_file_bytes,) * len(lengths), size)
    if size > bounds.max_file_bytes:
        raise Malformed("it sent more files than it may")
    found = {}
    for number, length in fetched.files:
        found[job.fetch_files[number]] = base64.b64encode(await reader.readexactly(length)).decode()
    return found


def _check(sizes: tuple[object, ...], caps: tuple[int, ...], total: int) -> None:
    for size, cap in zip(sizes, caps, strict=True):
        if type(size) is not int or not 0 <= size <= cap:
            raise Malformed(f"it announced {size!r} bytes where at most {cap} can be")
    if sum(sizes) != total:
        raise Malformed("the sizes that it announced do not add up")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")


def _decoded(output: memoryview) -> str:
    return str(output, "utf-8", errors="replace")
