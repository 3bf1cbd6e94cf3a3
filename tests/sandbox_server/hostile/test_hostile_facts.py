"""What a program learns about the machine, its server and those who work there."""

# ruff: noqa: E501 - a line of a program is a line here

import socket
from pathlib import Path

import pytest
from fortress import PREAMBLE, Fortress

PROC = """
links = {'self', 'thread-self', 'mounts', 'net'}
shown = sorted(n for n in os.listdir('/proc') if not n.isdigit() and n not in links and (attempt(open, '/proc/' + n) == 'done' if os.path.isfile('/proc/' + n) else os.listdir('/proc/' + n)))
print(shown, open('/proc/loadavg').read().split())
print({attempt(open, '/proc/' + n) for n in ('cmdline', 'diskstats', 'locks', 'partitions', 'devices', 'vmstat', 'bootconfig', 'consoles', 'misc')} <= {'EACCES', 'ENOENT'})"""

START = """
def started(pid): return [open(f'/proc/{pid}/{n}', 'rb').read().strip(b'\\0') for n in ('cmdline', 'environ')]
print(started('self')[0].startswith(b'python'), started('self')[1], attempt(started, 1), started(os.fork() or time.sleep(9) or 0)[1])
print(sorted(os.environ))"""

SETTINGS = """
import pwd, grp, socket
print(open('/etc/hosts').read().split(), sorted(entry.pw_name for entry in pwd.getpwall()), pwd.getpwuid(os.getuid()).pw_name, os.uname().nodename)
print(sorted(entry.gr_name for entry in grp.getgrall()), os.path.expanduser('~') == os.environ['HOME'], socket.gethostbyname('localhost'))"""

PRINTS = {
    PROC: "['cpuinfo', 'filesystems', 'loadavg', 'meminfo', 'stat', 'uptime', 'version'] ['0.00', '0.00', '0.00', '1/1', '1']\nTrue\n",
    START: "True b'' EACCES b''\n['HOME', 'LANG', 'MKL_NUM_THREADS', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'PATH', 'PYTHONDONTWRITEBYTECODE', 'TMPDIR']\n",
    SETTINGS: "['127.0.0.1', 'localhost', 'sandbox', '::1', 'localhost'] ['nobody', 'root', 'sandbox'] sandbox sandbox\n"
    "['nogroup', 'root'] True 127.0.0.1\n",
}
NAMES = ["files of the kernel", "how the worker was started", "accounts and addresses"]


def check(server: Fortress, code: str) -> None:
    """The program sees what is the same everywhere, and nowhere the machine's own name or a user of it."""
    result = server.run(PREAMBLE + code)["run_result"]
    assert (result["stdout"], result["stderr"]) == (PRINTS[code], "")
    everything = server.run(
        "import os\nfor top in ('/etc', '/proc/self', '/proc'):\n  for name in os.listdir(top):\n    try: print(open(f'{top}/{name}').read(9999))\n"
        "    except (OSError, UnicodeDecodeError): pass"
    )["run_result"]["stdout"]
    assert "sandbox_server" not in everything
    assert socket.gethostname() not in everything or len(socket.gethostname()) < 5
    assert Path("/proc/cmdline").read_text().strip() not in everything


@pytest.mark.parametrize("code", PRINTS, ids=NAMES)
def test_facts_about_the_machine_are_few(fortress: Fortress, code: str):
    """A program learns what it computes with, and that it is in a sandbox."""
    check(fortress, code)


@pytest.mark.parametrize("code", PRINTS, ids=NAMES)
def test_facts_about_the_machine_are_few_without_root(other_fortress: Fortress, code: str):
    """The same, where the server has no privileges."""
    check(other_fortress, code)
