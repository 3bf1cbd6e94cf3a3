"""Programs that reach for other processes, other files, the network and the kernel."""

# ruff: noqa: E501 - a line of a program is a line here

import contextlib
import os
import socket
import tempfile

import pytest
from fortress import Attack, Fortress

KILL = """
os.setpgid(0, 0) if os.getpgrp() != os.getpid() else None
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
    for pid in (os.getppid(), 1, -1, *(int(name) for name in os.listdir('/proc') if name.isdigit())):
        if pid != os.getpid(): attempt(os.kill, pid, number)
print('alive')"""

READ_WORKER = """
names = ('mem', 'environ', 'maps', 'root', 'cwd', 'exe', 'fd', 'io', 'auxv', 'stack', 'map_files', 'pagemap')
print({attempt(lambda n=n: os.listdir(f'/proc/1/{n}') if n in ('root', 'fd', 'map_files') else
       os.readlink(f'/proc/1/{n}') if n in ('cwd', 'exe') else open(f'/proc/1/{n}', 'rb').read(1)) for n in names}
      <= {'EACCES', 'EPERM', 'ENOENT'})
print(attempt(lambda: open('/proc/1/mem', 'r+b')), b's3cr3t' in open('/proc/self/environ', 'rb').read())"""

WRITE = """
import sysconfig
places = ['/', '/etc', '/usr', '/usr/bin', '/var', '/dev', '/proc', '/proc/1', '/proc/sys/kernel', sys.prefix, sys.base_prefix,
          sysconfig.get_path('purelib'), os.path.dirname(os.__file__), os.path.dirname(sys.executable)]
print({attempt(lambda: open(place + '/left', 'w')) for place in places if os.path.isdir(place)} <= {'EROFS', 'EACCES', 'ENOENT'})
print({attempt(open, path, 'r+b') for path in (os.__file__, '/etc/passwd', sys.executable, '/usr/bin/env')} <= {'EROFS', 'EACCES'})
print({attempt(call, os.__file__, 0o777) for call in (os.chmod, os.truncate)} <= {'EROFS', 'EACCES', 'EPERM'})
print(attempt(open, '/proc/self/oom_score_adj', 'w'), attempt(open, '/proc/sysrq-trigger', 'w') in ('EROFS', 'EACCES', 'ENOENT'))"""

SEE = """
top = {*os.listdir('/')}
print(top & {'sys', 'run', 'mnt', 'media', 'srv', 'boot', 'data', 'etc', 'proc'} == {'etc', 'proc'})
print([path for path in ('/etc/shadow', '/etc/ssh', '/etc/sudoers', '/var/log', '/sys', '/proc/sys/kernel', '/dev/sda', '/dev/kvm',
       '/dev/zero', '/dev/tty', '/dev/ptmx', '/run/docker.sock', '/proc/asound/cards') if os.path.lexists(path)])
print({attempt(open, '/proc/' + n, 'rb') for n in ('kcore', 'keys', 'kallsyms', 'kmsg', 'sysrq-trigger', 'timer_list', 'modules')}
      <= {'EACCES', 'EPERM', 'ENOENT'}, os.listdir('/proc/sys'))
print(sorted(n for n in os.listdir('/dev') if not n.startswith('.')), attempt(os.openpty))"""

SEARCH = """
found, until = set(), time.monotonic() + 0.3
while time.monotonic() < until:
    for top in ('/tmp', '/var', '/dev/shm', '/home', '/root', '/run', '/mnt', '/proc/1/cwd', '/proc/1/root/tmp', '/proc/self/root/tmp'):
        for directory, below, names in os.walk(top):
            below[:] = set(below) - {os.path.basename(sys.prefix), os.path.basename(sys.base_prefix)}
            for name in names:
                try: found |= {directory + '/' + name} if b's3cr3t' in open(directory + '/' + name, 'rb').read() else set()
                except OSError: pass
print([path for path in found if os.path.basename(path) != os.path.basename(sys.argv[0])], os.path.exists('MACHINE_FILE'))"""

REACH = """
import socket
def tcp(): socket.create_connection(('127.0.0.1', PORT), 1)
def udp(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))
def six(): socket.create_connection(('::1', PORT), 1)
def far(): socket.create_connection(('192.0.2.1', 80), 1)
def name(): socket.getaddrinfo('example.org', 80)
def unix(): socket.socket(socket.AF_UNIX).connect('UNIX_PATH')
def abstract(): socket.socket(socket.AF_UNIX).connect('\\0ABSTRACT')
print([attempt(call) for call in (tcp, udp, six, far)], attempt(unix), attempt(abstract), attempt(name) != 'done')
print([attempt(socket.socket, family, kind, protocol) for family, kind, protocol in
       ((16, 3, 0), (17, 3, 0), (38, 5, 0), (40, 1, 0), (2, 3, 1), (2, 1, 132), (31, 3, 1), (29, 3, 1))])"""

GAIN = """
import subprocess
print(os.getuid() == os.geteuid() != 0 and os.getgroups() in ([], [65534], [os.getgid()]))
for command in (['su', '-c', 'id'], ['mount', '-t', 'tmpfs', 'x', '.'], ['ping', '-c1', '127.0.0.1'], ['sudo', '-n', 'id']):
    try: print(subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=1.5).returncode != 0)
    except (OSError, subprocess.TimeoutExpired): print(True)
status = dict(line.split(':\\t', 1) for line in open('/proc/self/status') if ':\\t' in line)
print([int(status[name], 16) for name in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb')], status['NoNewPrivs'].strip(), status['Seccomp'].strip())
print({attempt(call, 0) for call in (os.setuid, os.setgid, os.seteuid)} | {attempt(os.setgroups, [0])} <= {'EPERM', 'EINVAL'})"""

# Numbers of x86-64.
NAMESPACES = """
flags = (0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x2000000, 0x80)
print({kernel(272, flag) for flag in flags}, {kernel(56, flag | 17, 0, 0, 0, 0) for flag in flags[:-1]})
print(kernel(435, 0, 0), kernel(308, os.open('/proc/self', 0), 0))
for number in (165, 166, 155, 161, 428, 429, 430, 432, 442): print(kernel(number, 0, 0, 0, 0, 0), end=' ')
print(attempt(os.mknod, 'disk', 0o60666, os.makedev(254, 0)), attempt(os.mknod, 'zero', 0o20666, os.makedev(1, 5)))"""

KERNEL = """
numbers = {'ptrace': 101, 'readv': 310, 'writev': 311, 'kcmp': 312, 'bpf': 321, 'perf': 298, 'uffd': 323, 'uring': 425,
           'by_handle': 304, 'to_handle': 303, 'kexec': 246, 'reboot': 169, 'syslog': 103, 'module': 313, 'swap': 167,
           'keyctl': 250, 'add_key': 248, 'request_key': 249, 'mq': 240, 'shm': 29, 'msg': 68, 'sem': 64, 'memfd': 319,
           'ldt': 154, 'x32': 0x40000000 + 39, 'fanotify': 300, 'iopl': 172, 'acct': 163}
print(sorted({kernel(number, 0, 0, 0, 0, 0) for number in numbers.values()}))
print(kernel(101, 16, 1, 0, 0), kernel(101, 0, 0, 0, 0))"""

DESCRIPTORS = """
import stat
print(sorted(int(name) for name in os.listdir('/proc/self/fd'))[:-1], [attempt(os.write, fd, b'x') for fd in (0, 3, 4, 7, 100)])
print([fd for fd in range(3) if stat.S_ISSOCK(os.fstat(fd).st_mode)], {attempt(os.write, fd, b'x') for fd in range(3, 256)})"""

DAEMON = """
libc.prctl(1, 0, 0, 0, 0); libc.prctl(36, 1, 0, 0, 0)
for _ in range(3):
    if os.fork() == 0:
        os.setsid(); signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        if os.fork() == 0:
            libc.prctl(1, 0, 0, 0, 0); KEEP
            while True: time.sleep(1)
        os._exit(0)
print('parent gone', flush=True)"""

LINKS = """
os.symlink('/etc/passwd', 'a'); os.symlink('/', 'b'); os.symlink('/proc/self/root/etc/passwd', 'c'); os.mkfifo('d')
here = os.getcwd(); os.chdir('/tmp'); os.rename(here, here + '.old'); os.symlink('/etc', here)
print('swapped')"""

ATTACKS = [
    Attack("killing all it sees", KILL, lambda r: r["stdout"] == "alive\n" or r["return_code"] is None),
    Attack("reading the worker", READ_WORKER, "True\nEACCES False\n"),
    Attack("writing outside the scratch", WRITE, "True\nTrue\nTrue\nEROFS True\n"),
    Attack(
        "looking around",
        SEE,
        "True\n[]\nTrue []\n['fd', 'full', 'null', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'urandom'] ENOENT\n",
    ),
    Attack("searching for secrets", SEARCH, "[] False\n", 5.0),
    Attack(
        "reaching the network",
        REACH,
        "['ENETUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL', 'ENETUNREACH'] ENOENT ECONNREFUSED True\n"
        + str(["EPERM"] * 8)
        + "\n",
        5.0,
    ),
    Attack("becoming somebody", GAIN, "True\nTrue\nTrue\nTrue\nTrue\n[0, 0, 0, 0] 1 2\nTrue\n", 8.0),
    Attack(
        "new namespaces and mounts",
        NAMESPACES,
        "{'EPERM'} {'EPERM'}\nENOSYS EPERM\n" + "EPERM " * 4 + "ENOSYS " * 5 + "EPERM EPERM\n",
    ),
    Attack("the kernel's rarer calls", KERNEL, "['ENOSYS', 'EPERM']\nEPERM EPERM\n"),
    Attack(
        "the worker's descriptors",
        DESCRIPTORS,
        "[0, 1, 2] ['EBADF', 'EBADF', 'EBADF', 'EBADF', 'EBADF']\n[] {'EBADF'}\n",
    ),
    Attack("daemons", DAEMON.replace("KEEP", "pass"), "parent gone\n"),
    Attack("daemons without streams", DAEMON.replace("KEEP", "os.closerange(0, 256)"), "parent gone\n"),
    Attack("a forest of daemons", DAEMON.replace("KEEP", "os.fork(); os.fork()"), "parent gone\n"),
    Attack(
        "links and a swapped scratch",
        LINKS,
        "swapped\n",
        fetch=("a", "b", "c", "d", "passwd", "b/etc/passwd", "../passwd"),
    ),
    Attack(
        "a scratch without permissions",
        "os.makedirs('a/b'); open('a/b/c', 'w').close(); os.chmod('a/b', 0); os.chmod('a', 0); os.chmod('.', 0); print('done')",
        "done\n",
    ),
    Attack(
        "a scratch that is gone",
        "import shutil\nshutil.rmtree(os.getcwd()); open(sys.argv[0].rsplit('/', 1)[0], 'w'); print(1)",
        "1\n",
    ),
    Attack(
        "parent death and subreaper",
        "libc.prctl(1, 0, 0, 0, 0); libc.prctl(36, 1, 0, 0, 0); print(os.getppid(), attempt(os.setsid), attempt(os.tcsetpgrp, 0, 1))",
        "1 done ENOTTY\n",
    ),
]


@contextlib.contextmanager
def listening():
    """Sockets of the machine that a program must not reach: port, path and abstract name; checked at the end."""
    abstract = f"verl-tir-{os.getpid()}"
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        os.chmod(folder, 0o755)
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0)))]
        for name in (f"{folder}/socket", "\0" + abstract):
            listeners.append(stack.enter_context(socket.socket(socket.AF_UNIX)))
            listeners[-1].bind(name)
            listeners[-1].listen()
        os.chmod(f"{folder}/socket", 0o777)
        yield {"PORT": str(listeners[0].getsockname()[1]), "UNIX_PATH": f"{folder}/socket", "ABSTRACT": abstract}
        for listener in listeners:
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()


def check(server: Fortress, attack: Attack) -> None:
    """The attack's own outcome, and all else."""
    with listening() as places, tempfile.NamedTemporaryFile() as machine_file:
        os.chmod(machine_file.name, 0o644)
        attack.replacements.update(places, MACHINE_FILE=machine_file.name)
        server.checks(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_nobody_gets_out(fortress: Fortress, attack: Attack):
    """The program is refused, and nobody else notices."""
    check(fortress, attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_nobody_gets_out_without_root(other_fortress: Fortress, attack: Attack):
    """The same, where the server has no privileges."""
    check(other_fortress, attack)
