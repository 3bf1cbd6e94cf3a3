"""The client against endpoints whose answers are made to hurt the process that reads them."""

import asyncio
import contextlib
import gzip
import json
import random
import resource
import sys
import time
import zlib

import pytest

from sandbox_client import (
    Execution,
    RetryPolicy,
    SandboxClient,
    SandboxDeadlineExceeded,
    SandboxFault,
    SandboxProtocolError,
    SandboxUnreachable,
    Timeouts,
)
from sandbox_client._body import BodyError, decoded

ONCE = RetryPolicy(attempts=1, total_timeout=60.0)
TIMEOUTS = Timeouts(connect=2.0, total=8.0, margin=0.1)
BLOCKED_MOST = 1.0  # seconds that the loop may stand still on a machine with other work; it was 17
GROWTH_MOST = 700 << 10  # KiB


def answer(run_result=None, **fields):
    result = {"status": "Finished", "execution_time": 0.1, "return_code": 0, "stdout": "", "stderr": ""}
    body = {"status": "Success", "message": "", "run_result": result | (run_result or {})}
    return json.dumps(body | fields).encode()


def with_time(text):
    return answer({"execution_time": "TIME"}).replace(b'"TIME"', text)


def http(body, *headers, status="200 OK", length=True):
    lines = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(body, size):
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for at in range(0, len(body), size) if (part := body[at : at + size])]
    return http(b"".join(chunks) + b"0\r\n\r\n", "Transfer-Encoding: chunked", length=False)


@contextlib.asynccontextmanager
async def endpoint(*pieces, pause=0.0):
    """A server that sends `pieces` to every caller, whatever it asks."""

    async def talk(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                for at in range(0, len(piece), 1 << 18):
                    writer.write(piece[at : at + (1 << 18)])
                    await writer.drain()
                await asyncio.sleep(pause)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def longest_pause(until):
    longest, before = 0.0, time.monotonic()
    while not until.done():
        await asyncio.sleep(0.005)
        now = time.monotonic()
        longest, before = max(longest, now - before), now
    return longest


async def ask(url, fetch_files=(), timeouts=TIMEOUTS):
    """What a call ends in, and the longest time that the loop stood still."""
    async with SandboxClient([url], timeouts=timeouts, retry=ONCE) as client:
        call = asyncio.ensure_future(client.run_code("print(1)", run_timeout=1.0, fetch_files=fetch_files))
        pause = await longest_pause(call)
        return call.exception() or call.result(), pause


def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def bomb(size, encoding):
    wbits = 31 if encoding == "gzip" else 15
    squeezer = zlib.compressobj(9, wbits=wbits)
    zeros = b"0" * (1 << 20)
    return b"".join([squeezer.compress(zeros) for _ in range(size >> 20)]) + squeezer.flush()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("fetch_files", [(), ("a",)])
async def test_what_is_decompressed_counts(encoding, fetch_files):
    """400 MiB in half a megabyte are refused at the bound, with a length or without, and hold nothing up."""
    body = bomb(400 << 20, encoding)
    before = resident()
    for pieces in (http(body, f"Content-Encoding: {encoding}"), chunked(http(body, length=False), 4096)):
        async with endpoint(pieces) as url:
            fault, pause = await ask(url, fetch_files)
        assert type(fault) is SandboxProtocolError
        assert pause < BLOCKED_MOST
    assert resident() - before < GROWTH_MOST


DEAR = {
    "lists": b"[],",
    "objects": b"{},",
    "empty texts": b'"",',
    "zeros": b"0,",
    "nulls": b"null,",
    "lists in a list": b"[[[]]],",
    "keys": b'{"a":{}},',
}


@pytest.mark.parametrize("name", DEAR)
async def test_many_values_hold_nothing_up(name):
    """30 MB of the smallest values are a protocol fault, in little memory, while the loop does its other work."""
    unit = DEAR[name]
    body = answer(message="HERE").replace(b'"HERE"', b"[" + unit * ((30 << 20) // len(unit)) + b"0]")
    before = resident()
    async with endpoint(http(body)) as url:
        fault, pause = await ask(url)
    assert type(fault) is SandboxProtocolError
    assert pause < BLOCKED_MOST
    assert resident() - before < GROWTH_MOST


@pytest.mark.parametrize(
    "body",
    [
        with_time(b"9" * 400),
        with_time(b"9" * 60_000),
        with_time(b"1e400"),
        with_time(b"-1e400"),
        with_time(b"1e300"),
        with_time(b"NaN"),
        with_time(b"Infinity"),
        with_time(b"-Infinity"),
        with_time(b"-1"),
        with_time(b"-0.001"),
        with_time(b"true"),
        with_time(b'"1"'),
        with_time(b"[1]"),
        answer({"return_code": 10**400}),
        answer({"return_code": -(10**20)}),
        answer({"return_code": 1.5}),
        answer({"stdout": ["a"]}),
        answer({"stdout": {"a": 1}}),
        answer({"stderr": 3}),
        answer(run_result=None).replace(b'"run_result"', b'"run_result": 1, "run_result"'),
        answer().replace(b'"stdout"', b'"stdout": "3", "stdout"'),
        answer(files={"a": "AA==", "b": 1}),
        answer(files=[["a", "AA=="]]),
        answer(files={"a" * 100_000: 1}),
        answer(message="HERE").replace(b'"HERE"', b"NaN"),
        answer(message="HERE").replace(b'"HERE"', b"[" * 900 + b"]" * 900),
        answer(message="HERE").replace(b'"HERE"', b"[" * 100_000 + b"]" * 100_000),
        answer(message="HERE").replace(b'"HERE"', b'{"a":' * 5_000 + b"1" + b"}" * 5_000),
        answer({"stdout": "HERE"}).replace(b"HERE", b"\xed\xa0\x80"),
        answer({"stdout": "HERE"}).replace(b"HERE", b"\xff"),
        answer({"stdout": "HERE"}).replace(b"HERE", b"\x00"),
        answer().decode().encode("utf-16"),
        b"\xef\xbb\xbf" + answer(),
        answer() + b"{}",
        answer()[:-1],
        b"",
        b"null",
        b"[]" * 3,
    ],
)
@pytest.mark.parametrize("padding", [0, 100_000])
async def test_malformed_answers_are_protocol_faults(body, padding):
    """Whatever is wrong, the call ends in the fault that says so, large or small; the message stays short."""
    # A large answer is read in another way.
    async with endpoint(http(body + b" " * padding)) as url:
        fault, pause = await ask(url)
    assert type(fault) is SandboxProtocolError, fault
    assert len(str(fault)) < 2000
    assert pause < BLOCKED_MOST


@pytest.mark.parametrize(
    "body", [answer({"execution_time": 0}), answer({"return_code": None}), answer(extra=[1.5e300])]
)
async def test_unusual_answers_are_results(body):
    """What a server may well say is not refused."""
    async with endpoint(http(body)) as url:
        execution, _ = await ask(url)
    assert isinstance(execution, Execution)


async def test_python_limits_that_a_program_lifted_do_not_matter():
    """With CPython's own bounds on digits and recursion lifted, as for symbolic mathematics, answers do no harm."""
    digits, depth = sys.get_int_max_str_digits(), sys.getrecursionlimit()
    sys.set_int_max_str_digits(0)
    sys.setrecursionlimit(10**6)
    try:
        for dear in (b"9" * 3_000_000, b"[" * 3_000_000, b"[" * 30_000 + b"]" * 30_000, b'{"a":' * 500_000):
            async with endpoint(http(answer(message="HERE").replace(b'"HERE"', dear))) as url:
                fault, pause = await ask(url)
            assert type(fault) is SandboxProtocolError
            assert pause < BLOCKED_MOST
    finally:
        sys.set_int_max_str_digits(digits)
        sys.setrecursionlimit(depth)


@pytest.mark.parametrize("encoded", [False, True])
async def test_texts_can_be_encoded(encoded):
    """Half of a surrogate pair, which JSON can say, becomes U+FFFD: no tokenizer takes it; whole pairs stay."""
    body = answer({"stdout": "\ud83d\ude00 \ud800 \udc00x é", "stderr": "\udfff"}, files={"\ud800": ""})
    headers = ["Content-Encoding: gzip"] if encoded else []
    async with endpoint(http(gzip.compress(body) if encoded else body, *headers)) as url:
        execution, _ = await ask(url, fetch_files=("a",))
    assert execution.stdout == "\U0001f600 \ufffd \ufffdx é"
    assert (execution.stderr, execution.files) == ("\ufffd", {"\ufffd": b""})


async def test_an_honest_large_answer_arrives_whole():
    """Sixteen megabytes of brackets, quotes and escapes printed by a program, and a file of as many, are no attack."""
    printed = '[{"a": "\\\\", ' * (1 << 20)
    content = "QUJD" * (4 << 20)
    for body, headers in ((answer({"stdout": printed}, files={"a": content}), []),):
        async with endpoint(http(body, *headers)) as url:
            execution, pause = await ask(url, fetch_files=("a",), timeouts=Timeouts(total=30.0, margin=0.1))
    assert execution.stdout == printed
    assert len(execution.files["a"]) == 12 << 20
    assert pause < BLOCKED_MOST


@pytest.mark.parametrize(
    ("kind", "pieces"),
    [
        (SandboxProtocolError, [http(gzip.compress(answer())[:-4], "Content-Encoding: gzip")]),
        (SandboxProtocolError, [http(answer(), "Content-Encoding: gzip")]),
        (SandboxProtocolError, [http(answer(), "Content-Encoding: br")]),
        (SandboxProtocolError, [http(gzip.compress(answer()) + b"more", "Content-Encoding: gzip")]),
        (SandboxProtocolError, [http(gzip.compress(gzip.compress(answer())), "Content-Encoding: gzip, gzip")]),
        (SandboxProtocolError, [http(b"", "Location: /" + "a" * 7000, status="308 Permanent Redirect")]),
        (SandboxProtocolError, [http(b"", "Location: http://127.0.0.1:1/", status="301 Moved")]),
        (SandboxProtocolError, [http(b"x" * 1_000_000, status="404 Not Found")]),
        (SandboxProtocolError, [http(b"", "Upgrade: websocket", status="101 Switching Protocols")]),
        (SandboxProtocolError, [http(b"", status="204 No Content")]),
        (SandboxProtocolError, [http(answer(), "Content-Length: 99999999999999999999", length=False)]),
        (SandboxProtocolError, [http(answer(), "Content-Length: -1", length=False)]),
        (SandboxProtocolError, [http(answer(), "Transfer-Encoding: chunked", length=False)]),
        (SandboxProtocolError, [http(answer(), *[f"X-{number}: 1" for number in range(100_000)])]),
        (SandboxProtocolError, [http(answer(), "X: " + "a" * 10_000_000)]),
        (SandboxProtocolError, [b"HTTP/1.1 999999 OK\r\n\r\n"]),
        (SandboxProtocolError, [b"\x00" * 100_000]),
        (SandboxUnreachable, [http(b"", "Content-Length: 1000", length=False)]),
    ],
)
async def test_malformed_http_is_a_fault(kind, pieces):
    """What is not HTTP, or not what was asked for, is the protocol fault; what is cut off is a broken connection."""
    async with endpoint(*pieces) as url:
        fault, pause = await ask(url)
    assert type(fault) is kind, fault
    assert len(str(fault)) < 2000
    assert pause < BLOCKED_MOST


ENDLESS = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"),
    "a header": (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a chunk's extension": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: 1\r\n"),
    "promises": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("flood", [False, True])
async def test_what_never_ends_ends_at_the_deadline(name, flood):
    """Drop by drop or as fast as it comes, the call is over in its time, and the loop does its other work."""
    head, rest = ENDLESS[name]
    pieces = [head, *[rest * ((1 << 16) // len(rest) if flood else 1)] * 2000]
    before = resident()
    async with endpoint(*pieces, pause=0.0 if flood else 0.01) as url:
        began = time.monotonic()
        fault, pause = await ask(url, timeouts=Timeouts(connect=1.0, total=1.5, margin=0.1))
        took = time.monotonic() - began
    assert isinstance(fault, SandboxProtocolError | SandboxDeadlineExceeded | SandboxUnreachable), fault
    assert took < 5.0
    assert pause < BLOCKED_MOST
    assert resident() - before < GROWTH_MOST


async def test_large_answers_of_one_endpoint_wait_for_each_other():
    """Sixteen answers of 16 MiB at once all arrive, four at a time."""
    body = answer({"stdout": "a" * (16 << 20)})
    before = resident()
    async with endpoint(http(body)) as url, SandboxClient([url], timeouts=Timeouts(total=60.0), retry=ONCE) as client:

        async def length():
            return len((await client.run_code("1", run_timeout=1.0)).stdout)

        assert set(await asyncio.gather(*(length() for _ in range(16)))) == {16 << 20}
    assert resident() - before < GROWTH_MOST


async def test_damaged_answers_end_in_a_result_or_a_fault():
    """Of answers with bytes changed, left out and doubled at random, none raises anything else."""
    chance = random.Random(7)
    plain = http(answer({"stdout": 'a\n"\\ é\ud83d\ude00'}, files={"a": "QUJD"}), "Content-Type: application/json")
    seeds = [plain, http(gzip.compress(answer()), "Content-Encoding: gzip"), chunked(answer(), 20)]
    damaged = []
    for number in range(600):
        text = bytearray(seeds[number % len(seeds)])
        for _ in range(chance.randint(1, 4)):
            at, length = chance.randrange(len(text)), chance.randint(0, 8)
            match chance.randrange(3):
                case 0:
                    text[at : at + length] = chance.randbytes(length)
                case 1:
                    del text[at : at + length]
                case _:
                    text[at:at] = text[at : at + length]
        damaged.append(bytes(text))
    waiting = list(damaged)

    async def talk(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(waiting.pop())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    ends = []
    async with server, SandboxClient([url], timeouts=TIMEOUTS, retry=ONCE) as client:
        client._balancer.choose = lambda avoid=None: client._balancer.endpoints[0]  # whatever its breaker says
        for _ in damaged:
            try:
                ends.append(await client.run_code("1", run_timeout=1.0))
            except SandboxFault as fault:
                ends.append(fault)
    assert len(ends) == len(damaged)


def test_the_bounds_are_bounds_and_not_less():
    """Ten thousand cells with an output each can be read; five hundred thousand values and more cannot."""
    cell = {"stdout": "[1]", "stderr": "", "display": [{"text/plain": "1"}], "error": []}
    assert len(decoded(json.dumps([cell] * 10_000).encode())) == 10_000
    with pytest.raises(BodyError, match="values"):
        decoded(b"[" + b"0," * 600_000 + b"0]")
