"""How content passes between the server and its workers, and that neither is led astray by half of it or too much."""

import asyncio
import ctypes
import os
import socket
import threading
from dataclasses import replace

import pytest

from sandbox_server import IsolationPolicy, ServerConfig
from sandbox_server.frames import Cancel, Disconnected, Fetched, Job, Malformed, OrderOutcome, ProgramStatus, pack
from sandbox_server.job_codec import ReplyBounds, pack_job, receive_report
from sandbox_server.pool import WorkerPool
from sandbox_server.worker_channel import OrderReader, OutcomeWriter, OutputCapture, UnforkedMemory

JOB = Job(code="code é", stdin="in", files={"a": b"1\0", "b": b""}, run_timeout=1.0, memory_limit_mb=64)
ASKING = replace(JOB, fetch_files=["x", "y"])
NOTEBOOK = replace(JOB, cells=["1", "2"])
BOUNDS = ReplyBounds(max_output_bytes=100, max_file_bytes=50)
FINISHED = OrderOutcome(ProgramStatus.FINISHED, 0, 0.5)


def poured(orders, size, path):
    """What `pour` writes."""
    with open(path, "w+b") as file:
        orders.pour(size, file.fileno())
        return file.read() if file.seek(0) == 0 else None


def take_all(orders, path):
    """Receive a frame with the content of JOB."""
    order = orders.order()
    poured(orders, order.code_bytes + order.stdin_bytes + 2, path)


@pytest.fixture
def pair():
    """Two ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def sending(sock, *parts):
    """A thread that sends `parts` one by one."""

    def send():
        for part in parts:
            sock.sendall(part)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_orders_arrive_whole_whatever_the_pieces(pair, tmp_path):
    """Content comes out as it went in, byte by byte, in megabytes, after cancels and after content nobody took."""
    ours, theirs = pair
    orders = OrderReader(theirs)
    large = replace(JOB, stdin="x" * (3 << 20))
    message = pack_job(JOB)
    sender = sending(
        ours, *(message[at : at + 1] for at in range(len(message))), pack(Cancel()), pack_job(large), pack_job(JOB)
    )
    order = orders.order()
    assert (order.code_bytes, order.stdin_bytes, order.files) == (7, 2, [["a", 2], ["b", 0]])
    assert poured(orders, 7, tmp_path / "code") == "code é".encode()
    assert poured(orders, 2, tmp_path / "in") == b"in"
    assert poured(orders, 2, tmp_path / "a") == b"1\0"
    order = orders.order()
    assert poured(orders, 7, tmp_path / "code") == "code é".encode()
    assert poured(orders, 2 << 20, tmp_path / "in") == b"x" * (2 << 20)
    assert orders.order().stdin_bytes == 2
    sender.join()


@pytest.mark.parametrize("sent", [0, 1, 11, 12, 40, -9, -1])
def test_a_server_that_dies_within_a_frame_is_gone(pair, tmp_path, sent):
    """Half a frame is never carried out."""
    ours, theirs = pair
    ours.sendall(pack_job(JOB)[:sent])
    ours.close()
    with pytest.raises(Disconnected):
        take_all(OrderReader(theirs), tmp_path / "all")


def test_an_order_that_cannot_be_written_is_skipped(pair, tmp_path):
    """After a failure in mid-frame the next order is read from its beginning."""
    ours, theirs = pair
    orders = OrderReader(theirs)
    sender = sending(ours, pack_job(replace(JOB, code="x" * (2 << 20))), pack_job(JOB))
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match="No space"):
        orders.pour(orders.order().code_bytes, full.fileno())
    assert orders.order().code_bytes == 7
    sender.join()


async def received(job, *parts):
    """The report that the server makes of `parts`."""
    reader = asyncio.StreamReader()
    for part in parts:
        reader.feed_data(part)
    reader.feed_eof()
    return await receive_report(reader, job, BOUNDS)


async def test_a_report_has_what_the_worker_sent(pair, tmp_path):
    """Output becomes text, files base64, in whatever order they were asked for."""
    ours, theirs = pair
    (tmp_path / "y").write_bytes(b"\xff" * 30)
    outcomes = OutcomeWriter(ours)
    outcomes.send_fetched(Fetched([(1, 30), (0, 0)]), [str(tmp_path / "y"), "/dev/null"])
    outcomes.send_outcome(
        replace(FINISHED, stdout_bytes=2, stderr_bytes=1), (memoryview(b"a\xff"), memoryview(b"b")), ()
    )
    report = await received(ASKING, theirs.recv(1 << 16))
    assert (report.stdout, report.stderr, report.return_code) == ("a\ufffd", "b", 0)
    assert report.files == {"y": "////////////////////////////////////////", "x": ""}


def test_a_file_that_shrinks_ends_the_worker(pair, tmp_path):
    """Nothing else may be taken for the bytes that were announced."""
    (tmp_path / "y").write_bytes(b"12")
    with pytest.raises(Disconnected):
        OutcomeWriter(pair[0]).send_fetched(Fetched([(0, 3)]), [str(tmp_path / "y")])


@pytest.mark.parametrize(
    ("job", "frames"),
    [
        (JOB, [(replace(FINISHED, stdout_bytes=101), 101)]),
        (JOB, [(replace(FINISHED, stderr_bytes=101), 101)]),
        (JOB, [(replace(FINISHED, stdout_bytes=-1), 0)]),
        (JOB, [(replace(FINISHED, stdout_bytes=1.0), 1)]),
        (JOB, [(replace(FINISHED, stdout_bytes="1"), 1)]),
        (JOB, [(replace(FINISHED, stdout_bytes=True), 1)]),
        (JOB, [(replace(FINISHED, stdout_bytes=1), 2)]),
        (JOB, [(replace(FINISHED, notebook_bytes=(1, 0, 0)), 1)]),
        (JOB, [(replace(FINISHED, notebook_bytes=(0, 0)), 0)]),
        (JOB, [(replace(FINISHED, status="Unheard"), 0)]),
        (JOB, [(replace(FINISHED, detail="x" * 70_000), 0)]),
        (NOTEBOOK, [(replace(FINISHED, notebook_bytes=(1 << 20, 0, 0)), 1 << 20)]),
        (NOTEBOOK, [(replace(FINISHED, notebook_bytes=(0, 101, 0)), 101)]),
        (JOB, [(Fetched([(0, 1)]), 1)]),
        (ASKING, [(Fetched([(2, 1)]), 1)]),
        (ASKING, [(Fetched([(-1, 1)]), 1)]),
        (ASKING, [(Fetched([(0, 1), (0, 1)]), 2)]),
        (ASKING, [(Fetched([(0, 51)]), 51)]),
        (ASKING, [(Fetched([(0, 30), (1, 30)]), 60)]),
        (ASKING, [(Fetched([0]), 0)]),
        (ASKING, [(Fetched([(0, 0)]), 0), (Fetched([(0, 0)]), 0)]),
        (JOB, [(Cancel(), 0)]),
    ],
)
async def test_the_server_takes_no_more_than_it_allows(job, frames):
    """A worker that announces what cannot be is lost, before anything of it is read."""
    with pytest.raises(Malformed):
        await received(job, *(pack(frame, size) for frame, size in frames), b"x" * 200)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"[1, 2]", b'["OrderOutcome", []]', b'["No", {}]', b"\xff", b"[" * 50_000]
)
async def test_what_is_no_frame_is_malformed(body):
    """Whatever a worker says, the server has a name for it."""
    with pytest.raises(Malformed):
        await received(JOB, len(body).to_bytes(4, "big") + bytes(8) + body)


def test_output_is_kept_up_to_the_cap():
    """What is beyond is read and dropped, and the next program begins with nothing."""
    capture = OutputCapture(10)
    for text in (b"0123456789abc", b"new"):
        read, write = os.pipe()
        os.write(write, text)
        os.close(write)
        capture.attach(read)
        while capture.open:
            capture.read()
        assert bytes(capture.kept) == text[:10]
        capture.empty()
        os.close(read)


def test_memory_is_not_forked_and_is_given_back():
    """A fork does not have the pages at all; emptied, they are zero."""
    memory = UnforkedMemory(1 << 16)
    memory.view[:4] = b"held"
    address = _address(memory)
    with open("/proc/self/maps") as maps:
        assert any(line.startswith(address) for line in maps)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with open("/proc/self/maps") as maps:
            os.write(write, b"%d" % any(line.startswith(address) for line in maps))
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 1) == b"0"
    memory.empty()
    assert bytes(memory.view[:4]) == bytes(4)
    os.close(read)
    os.close(write)


def _address(memory):
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory.view))
    return f"{start:x}-"


async def test_calls_that_are_cancelled_or_too_large_do_no_harm_to_the_next():
    """A caller who leaves while the content is on its way, and content beyond the scratch, cost nobody else."""
    config = ServerConfig(workers=1, preload=(), scratch_mb=4, isolation=IsolationPolicy.BEST_EFFORT)
    plain = Job(code="import sys; print(len(sys.stdin.read()))", stdin="é" * 10, run_timeout=5.0, memory_limit_mb=256)
    pool = WorkerPool(config)
    await pool.start()
    try:
        for pause in (0.0, 0.0005, 0.002, 0.01):
            call = asyncio.create_task(pool.run(replace(plain, stdin="x" * (3 << 20))))
            await asyncio.sleep(pause)
            call.cancel()
            assert (await pool.run(plain)).stdout == "10\n"
        large = await pool.run(replace(plain, files={"large": b"x" * (8 << 20)}))
        bounded = pool.isolation.private_files
        assert (large.status is ProgramStatus.ERROR, "No space left" in large.stderr) == (bounded, bounded)
        # Whether the worker was spoilt before, or the content is too large for any, shows on a second one.
        assert ((await pool.run(plain)).stdout, pool.replaced) == ("10\n", 2 if bounded else 0)
    finally:
        await pool.close()
