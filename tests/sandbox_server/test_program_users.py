"""The users that programs run as: ranges that do not meet, whoever asks and however a server ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox_server import ServerConfig, program_users
from sandbox_server.frames import Job
from sandbox_server.pool import WorkerPool
from sandbox_server.program_users import FIRST, LAST, NoFreeUsersError, ProgramUsers

HOLDER = """
import signal, sys
from sandbox_server.program_users import ProgramUsers
from sandbox_server import program_users
program_users._used = set
users = ProgramUsers.claim(int(sys.argv[2]), [sys.argv[1]])
print(users.ids.start, flush=True)
signal.pause()
"""


@pytest.fixture
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of other servers, which other tests may have started, are not seen."""
    monkeypatch.setattr(program_users, "_used", lambda: set())


def test_ranges_do_not_meet(tmp_path: Path, nobody_else: None) -> None:
    """Of servers in one process, until one is released; releasing twice is harmless."""
    claimed = [ProgramUsers.claim(16, [str(tmp_path)]) for _ in range(20)]
    ids = [uid for users in claimed for uid in users.ids]
    assert len(set(ids)) == 20 * 16
    assert min(ids) >= FIRST
    assert max(ids) <= LAST
    for users in claimed:
        users.release()
        users.release()
    assert ProgramUsers.claim(LAST - FIRST + 1, [str(tmp_path)]).ids == range(FIRST, LAST + 1)


def test_the_last_gap_is_found(tmp_path: Path, nobody_else: None) -> None:
    """Wherever the search begins; then the message says what to do, and no file stays open."""
    claimed = [ProgramUsers.claim(LAST - FIRST + 1 - 3, [str(tmp_path)])]
    claimed += [ProgramUsers.claim(1, [str(tmp_path)]) for _ in range(3)]
    assert {uid for users in claimed for uid in users.ids} == set(range(FIRST, LAST + 1))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(NoFreeUsersError, match=rf"workers=1: of the users {FIRST} to {LAST}.*start fewer workers"):
        ProgramUsers.claim(1, [str(tmp_path)])
    assert len(os.listdir("/proc/self/fd")) == before
    for users in claimed:
        users.release()


def test_the_range_of_a_killed_server_is_free_again(tmp_path: Path, nobody_else: None) -> None:
    """And while it lives, another process does not get it."""
    whole = str(LAST - FIRST + 1)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path), whole], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert int(holder.stdout.readline()) == FIRST
        with pytest.raises(NoFreeUsersError):
            ProgramUsers.claim(1, [str(tmp_path)])
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    ProgramUsers.claim(int(whole), [str(tmp_path)]).release()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run something as another user")
def test_users_with_processes_are_left_out(tmp_path: Path) -> None:
    """Somebody else's, or those of a server that was killed: they take part in no lock."""
    sleeper = subprocess.Popen(["sleep", "60"], user=FIRST + 100)
    try:
        with pytest.raises(NoFreeUsersError, match=r"\d+ have processes"):
            ProgramUsers.claim(LAST - FIRST + 1, [str(tmp_path)])
        for _ in range(20):
            users = ProgramUsers.claim(100, [str(tmp_path)])
            assert FIRST + 100 not in users.ids
            users.release()
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_lock_that_somebody_else_made_is_not_taken(tmp_path: Path) -> None:
    """A link is not followed, nor a file trusted that others can write; another folder does instead."""
    shared, own = tmp_path / "shared", tmp_path / "own"
    shared.mkdir()
    own.mkdir()
    lock = shared / program_users._LOCK_NAME
    lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="no file to claim users"):
        ProgramUsers.claim(1, [str(shared)])
    assert not (tmp_path / "elsewhere").exists()
    lock.unlink()
    lock.touch()
    lock.chmod(0o666)
    with pytest.raises(OSError, match="with mode 666"):
        ProgramUsers.claim(1, [str(shared), str(tmp_path / "gone")])
    ProgramUsers.claim(1, [str(shared), str(own)]).release()
    assert (own / lock.name).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run something as another user")
async def test_no_user_runs_the_programs_of_two_servers() -> None:
    """Nor of two workers of one; the same worker's next program has the same user, also after its worker was lost."""
    whose = Job(code="import os, time\ntime.sleep(0.3)\nprint(os.getuid())", run_timeout=20.0, memory_limit_mb=256)
    pools = [WorkerPool(ServerConfig(port=0, workers=2, preload=())) for _ in range(2)]
    try:
        for pool in pools:
            await pool.start()
        first, second = [
            {int(report.stdout) for report in await asyncio.gather(pool.run(whose), pool.run(whose))} for pool in pools
        ]
        assert len(first | second) == 4
        assert min(first | second) >= FIRST
        # It ends its worker's only process tree, and the worker that comes in its place takes the user over.
        await pools[0].run(replace(whose, code="import os, signal\nos.kill(1, signal.SIGKILL)"))
        again = await asyncio.gather(*[pools[0].run(whose) for _ in range(4)])
        assert {int(report.stdout) for report in again} == first
    finally:
        for pool in pools:
            await pool.close(0.0)
