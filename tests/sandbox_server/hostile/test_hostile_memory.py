"""Programs that look through their own memory for what the one before them was sent and printed."""

# ruff: noqa: E501 - a line of a program is a line here

import base64
import json
import os
import secrets
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fortress import CONFIG, OTHER_UID, Fortress

STEM = secrets.token_hex(9)
"""What all markers of this run begin with. 18 characters, so that base64 of it ends where it ends."""

TAILS = {
    place: place.ljust(12, "-")
    for place in ("code", "stdin", "file", "stdout", "stderr", "fetched", "cell", "shown", "raised", "unread")
}
"""What follows: where the marker was."""

# It never has a stem and a tail side by side, and so does not find itself.
SEARCH = """
import json, mmap, os
half = lambda text: bytes.fromhex(text[::-1])
patterns = [(half(stem), {half(tail): name for tail, name in tails.items()}) for stem, tails in json.loads('PATTERNS')]
longest = max(len(stem) + max(map(len, tails)) for stem, tails in patterns)
piece = mmap.mmap(-1, (1 << 20) + longest, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
found, looked = {}, 0
memory = os.open('/proc/self/mem', os.O_RDONLY)
for line in open('/proc/self/maps').read().splitlines():
    addresses, permissions, *_, = line.split()
    start, end = (int(address, 16) for address in addresses.split('-'))
    if permissions[0] != 'r': continue
    while start < end:
        try: size = os.preadv(memory, [memoryview(piece)[:min(end - start, len(piece))]], start)
        except OSError: break
        if not size: break
        looked += size
        for stem, tails in patterns:
            at = piece.find(stem, 0, size)
            while at >= 0:
                after = piece[at + len(stem):at + len(stem) + longest]
                for tail, name in tails.items():
                    if after.startswith(tail): found[name] = found.get(name, 0) + 1
                at = piece.find(stem, at + 1, size)
        if start + size >= end: break
        start += size - longest if size > longest else size
    piece.madvise(mmap.MADV_DONTNEED)
print(looked > 1 << 20, sorted(found.items()))
"""


def halves(place: str) -> Iterator[tuple[bytes, bytes]]:
    """The marker of `place` in each form that it may have in memory, cut in two after the stem."""
    stem, tail = STEM, TAILS[place]
    for encoding in ("utf-8", "utf-16-le", "utf-32-le"):
        yield stem.encode(encoding), tail.encode(encoding)
    for shift in range(3):
        text = base64.b64encode(b"x" * shift + (stem + tail).encode())
        first, middle = -(-8 * shift // 6), 8 * (shift + len(stem)) // 6
        yield text[first:middle], text[middle : 8 * (shift + len(stem + tail)) // 6]


def search() -> str:
    """The program that looks for all markers."""
    patterns: list[tuple[str, dict[str, str]]] = []
    for number in range(6):
        forms = {place: list(halves(place))[number] for place in TAILS}
        ((stem),) = {stem for stem, _ in forms.values()}
        patterns.append((disguised(stem), {disguised(tail): f"{place} {number}" for place, (_, tail) in forms.items()}))
    return SEARCH.replace("PATTERNS", json.dumps(patterns))


def disguised(text: bytes) -> str:
    return text.hex()[::-1]


def marker(place: str, times: int = 40) -> str:
    """The marker of `place`, so often that it does not fit where the next object overwrites it."""
    return (STEM + TAILS[place]) * times


def built(place: str) -> str:
    """An expression for it whose source does not contain it."""
    return f"bytes.fromhex({marker(place, 1).encode().hex()!r}).decode() * 40"


def post(server: Fortress, path: str, **body: object) -> dict:
    """The answer to one call."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(server.endpoint + path, json.dumps(body).encode()), timeout=40) as answer:
        return json.load(answer)


PROGRAM = f"""# {marker("code")}
import sys
given = sys.stdin.read(), open('given').read()
print({built("stdout")}, flush=True)
print({built("stderr")}, file=sys.stderr)
open('fetched', 'w').write({built("fetched")})
"""
CELLS = [
    f"# {marker('cell')}\nimport sys, time\nprint({built('stdout')}); print({built('stderr')}, file=sys.stderr)\nopen('given').read()",
    f"{built('shown')}",
    f"open('fetched', 'w').write({built('fetched')})\nraise ValueError({built('raised')})",
]
FILES = {"files": {"given": base64.b64encode(marker("file").encode()).decode()}, "fetch_files": ["fetched"]}
SENT = {
    "a program": ("/run_code", {"code": PROGRAM}),
    "a program out of time": ("/run_code", {"code": PROGRAM + "while True: pass", "run_timeout": 0.5}),
    "a program with much output": (
        "/run_code",
        {"code": PROGRAM + f"for _ in range(300): print({built('stdout')}); print({built('stderr')}, file=sys.stderr)"},
    ),
    "a notebook": ("/run_jupyter", {"cells": CELLS}),
    "a notebook out of time": (
        "/run_jupyter",
        {"cells": [*CELLS, f"print({built('unread')})\nwhile True: pass"], "total_timeout": 0.7},
    ),
}


@pytest.fixture(scope="module")
def lone() -> Iterator[Fortress]:
    """A server with a single worker, so that the next program comes from the same memory."""
    yield from started(None)


@pytest.fixture(scope="module")
def other_lone() -> Iterator[Fortress]:
    """The same, run by a user without privileges."""
    yield from started(OTHER_UID)


def started(uid: int | None) -> Iterator[Fortress]:
    with Fortress(uid, replace(CONFIG, workers=1)) as server:
        if not server.endpoint:
            pytest.skip(server.words())
        yield server


def check(server: Fortress, sent: str) -> None:
    """Nothing of what was sent and came back is there for the next program."""
    path, body = SENT[sent]
    extra = {"language": "python", "stdin": marker("stdin")} if path == "/run_code" else {}
    answer = post(server, path, **body, **extra, **FILES)
    text = json.dumps(answer)
    assert STEM + TAILS["stdout"] in text, (answer, server.words())
    assert base64.b64decode(answer["files"]["fetched"]).decode() == marker("fetched")
    looked = server.run(search(), run_timeout=30.0)["run_result"]
    assert (looked["stdout"], looked["stderr"]) == ("True []\n", "")


@pytest.mark.parametrize("sent", SENT)
def test_no_program_finds_another_ones_content(lone: Fortress, sent: str):
    """Source, input, files and output of a program are nowhere in the memory that the next one inherits."""
    check(lone, sent)


@pytest.mark.parametrize("sent", ["a program", "a notebook"])
def test_no_program_finds_another_ones_content_without_root(other_lone: Fortress, sent: str):
    """The same, where the server has no privileges."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    check(other_lone, sent)


def test_the_search_finds_what_is_there(lone: Fortress):
    """A program that has a marker in its own memory finds it, in each form."""
    own = f"own = {built('code')}\nkept = [own.encode(), own.encode('utf-16-le'), own.encode('utf-32-le')]\n"
    own += "import base64\nkept += [base64.b64encode(b'x' * shift + kept[0]) for shift in range(3)]\n"
    looked = lone.run(own + search(), run_timeout=30.0)["run_result"]
    assert all(f"'code {number}'" in looked["stdout"] for number in range(6)), looked
