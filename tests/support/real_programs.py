"""Ordinary programs that use what models use, each with what it prints: none of them may notice a wall."""

# ruff: noqa: E501 - a line of a program is a line here

from dataclasses import dataclass


@dataclass(frozen=True)
class RealProgram:
    """One program and its standard output."""

    name: str
    """What it uses; the test's id."""

    code: str
    """The program."""

    prints: str
    """Its standard output, without the last line's end."""

    needs: str = ""
    """A module that must be installed for it."""


PROGRAMS = (
    RealProgram(
        "numpy",
        "import numpy as np\nprint(round(np.linalg.det(np.eye(6) * 2)), np.fft.fft(np.ones(8))[0].real)",
        "64 8.0",
        "numpy",
    ),
    RealProgram(
        "numpy files",
        "import numpy as np\nnp.save('a.npy', np.arange(9))\nm = np.load('a.npy', mmap_mode='r+'); m[0] = 5; m.flush(); np.savez_compressed('b', x=m)\nprint(np.load('b.npz')['x'].sum())",
        "41",
        "numpy",
    ),
    RealProgram(
        "scipy",
        "from scipy import integrate, optimize, stats, sparse, linalg\nimport scipy.sparse.linalg\nprint(round(integrate.quad(lambda x: x * x, 0, 3)[0], 6), round(optimize.brentq(lambda x: x**3 - 8, 0, 5), 6), round(stats.norm.cdf(0), 3), round(linalg.det([[2, 1], [1, 3]]), 6))",
        "9.0 2.0 0.5 5.0",
        "scipy",
    ),
    RealProgram(
        "sympy",
        "from sympy import *\nx = symbols('x')\nprint(integrate(sin(x) * x, x), factorint(2**67 - 1), solve(x**2 - x - 1))",
        "-x*cos(x) + sin(x) {193707721: 1, 761838257287: 1} [1/2 - sqrt(5)/2, 1/2 + sqrt(5)/2]",
        "sympy",
    ),
    RealProgram(
        "pandas",
        "import pandas as pd\nd = pd.DataFrame({'a': [1, 2, 3], 'b': list('xyx')})\nd.to_csv('d.csv', index=False)\nprint(pd.read_csv('d.csv').groupby('b')['a'].sum().to_dict())",
        "{'x': 4, 'y': 2}",
        "pandas",
    ),
    RealProgram(
        "matplotlib",
        "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\nplt.plot([1, 2, 3]); plt.savefig('f.png'); plt.savefig('f.pdf')\nprint(open('f.png', 'rb').read(4)[1:])",
        "b'PNG'",
        "matplotlib",
    ),
    RealProgram(
        "networkx",
        "import networkx as nx\nprint(nx.shortest_path(nx.grid_2d_graph(4, 4), (0, 0), (3, 3)).__len__())",
        "7",
        "networkx",
    ),
    RealProgram(
        "pillow",
        "from PIL import Image\nImage.new('RGB', (40, 30)).resize((8, 6)).save('i.jpg')\nprint(Image.open('i.jpg').size)",
        "(8, 6)",
        "PIL",
    ),
    RealProgram(
        "numba",
        "import numba\n@numba.njit\ndef f(n):\n  s = 0\n  for i in range(n): s += i\n  return s\nprint(f(1000))",
        "499500",
        "numba",
    ),
    RealProgram(
        "torch",
        "import torch\ntorch.manual_seed(0); torch.set_num_threads(2)\nw = torch.ones(300, 300, requires_grad=True); (w @ w).sum().backward()\ntorch.save(w.grad, 'w.pt')\nprint(torch.load('w.pt').sum().item())",
        "54000000.0",
        "torch",
    ),
    RealProgram(
        "psutil",
        "import psutil\np = psutil.Process()\nprint(p.memory_info().rss > 0, psutil.virtual_memory().total > 0, p.num_threads(), psutil.cpu_count() > 0)",
        "True True 1 True",
        "psutil",
    ),
    RealProgram(
        "decimal, fractions, statistics",
        "from decimal import *\nfrom fractions import Fraction\nimport statistics, math\ngetcontext().prec = 50\nprint(Decimal(2).sqrt(), Fraction(1, 3) + Fraction(1, 6), statistics.stdev([1, 2, 3, 4]) ** 2 > 1.6, math.comb(50, 25))",
        "1.4142135623730950488016887242096980785696718753769 1/2 True 126410606437752",
    ),
    RealProgram(
        "threads",
        "import threading, queue, concurrent.futures as c\nq = queue.Queue()\nt = [threading.Thread(target=lambda i=i: q.put(i)) for i in range(8)]\n[x.start() for x in t]; [x.join() for x in t]\nwith c.ThreadPoolExecutor(4) as pool: print(sum(q.get() for _ in t), sum(pool.map(abs, range(-9, 0))))\ne = threading.Event(); print(e.wait(0.01), threading.Condition().acquire(timeout=1))",
        "28 45\nFalse True",
    ),
    RealProgram(
        "multiprocessing",
        "import multiprocessing as m\nfrom multiprocessing import shared_memory\ndef f(x): return x * x\nif __name__ == '__main__':\n  with m.Pool(3) as pool: print(pool.map(f, range(5)))\n  q, v, l = m.Queue(), m.Value('i', 3), m.Lock()\n  p = m.Process(target=q.put, args=(7,)); p.start(); print(q.get(), v.value); p.join()\n  a, b = m.Pipe(); a.send('x'); print(b.recv())\n  s = shared_memory.SharedMemory(create=True, size=99); s.buf[0] = 9; print(s.buf[0]); s.close(); s.unlink()\n  with m.Manager() as manager: d = manager.dict(k=1); print(dict(d))",
        "[0, 1, 4, 9, 16]\n7 3\nx\n9\n{'k': 1}",
    ),
    RealProgram(
        "multiprocessing by spawn and forkserver",
        "import multiprocessing as m, math\nif __name__ == '__main__':\n  for way in ('spawn', 'forkserver'):\n    with m.get_context(way).Pool(2) as pool: print(pool.map(math.factorial, [3, 4]))",
        "[6, 24]\n[6, 24]",
    ),
    RealProgram(
        "process pool",
        "import concurrent.futures as c, math\nif __name__ == '__main__':\n  with c.ProcessPoolExecutor(2) as pool: print(list(pool.map(math.sqrt, [4, 9])))",
        "[2.0, 3.0]",
    ),
    RealProgram(
        "subprocess",
        "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(sum(range(9)))'], capture_output=True, text=True).stdout.strip())\nprint(subprocess.check_output('echo a | tr a b; ls / | grep -c usr', shell=True, text=True).split())\np = subprocess.Popen(['cat'], stdin=-1, stdout=-1, start_new_session=True, process_group=None); print(p.communicate(b'hello')[0], p.returncode)\ntry: subprocess.run(['sleep', '5'], timeout=0.1)\nexcept subprocess.TimeoutExpired: print('late')",
        "36\n['b', '1']\nb'hello' 0\nlate",
    ),
    RealProgram(
        "the system's tools",
        "import subprocess\nrun = lambda c: subprocess.run(['sh', '-c', c], capture_output=True, text=True).stdout.split()\nprint(run('printf \"3\\\\n1\\\\n2\\\\n\" | sort | head -2; seq 5 | xargs -n2 echo | wc -l; cp /bin/sh x && cmp x /bin/sh && chmod 700 x && ./x -c \"echo ok\"'))\nprint(run('mkdir -p a/b; echo 1 > a/b/c; tar cf t.tar a; rm -r a; tar xf t.tar; cat a/b/c; gzip t.tar; ls t.*; awk \"BEGIN{print 2+3}\"; find a -type f; date +%Y | wc -c; mktemp -d | wc -l; sed s/1/2/ a/b/c; touch -d 2020-01-01 a; stat -c %s a/b/c; nproc | wc -l'))",
        "['1', '2', '3', 'ok']\n['1', 't.tar.gz', '5', 'a/b/c', '5', '1', '2', '2', '1']",
    ),
    RealProgram(
        "asyncio",
        "import asyncio, sys\nasync def main():\n  p = await asyncio.create_subprocess_exec(sys.executable, '-c', 'print(5)', stdout=-1)\n  print((await p.communicate())[0], await asyncio.gather(*(asyncio.sleep(0.01, i) for i in range(3))))\n  print(await asyncio.to_thread(sum, [1, 2]), await asyncio.wait_for(asyncio.sleep(0, 8), 1))\n  s = await asyncio.start_unix_server(lambda r, w: (w.write(b'hi'), w.close()), 'sock')\n  r, w = await asyncio.open_unix_connection('sock'); print(await r.read()); w.close(); s.close()\nasyncio.run(main())",
        "b'5\\n' [0, 1, 2]\n3 8\nb'hi'",
    ),
    RealProgram(
        "tempfile and shutil",
        "import tempfile, shutil, os, pathlib, zipfile, glob\nwith tempfile.TemporaryDirectory() as d, tempfile.NamedTemporaryFile() as f, tempfile.TemporaryFile() as g, tempfile.SpooledTemporaryFile(1) as s:\n  f.write(b'x' * 70000); f.flush(); g.write(b'y'); s.write(b'zz')\n  shutil.copy2(f.name, d + '/c'); shutil.copytree(d, 'e'); shutil.move('e/c', 'c'); os.link('c', 'h'); os.symlink('c', 's'); os.replace('h', 'c2')\nshutil.make_archive('z', 'zip', 'e'); shutil.rmtree('e'); p = pathlib.Path('c'); p.touch(); p.chmod(0o644); os.utime('c', (1, 1)); os.truncate('c', 5)\nprint(sorted(glob.glob('*[!y]')), p.stat().st_size, shutil.disk_usage('.').total > 0)",
        "['c', 'c2', 's', 'z.zip'] 5 True",
    ),
    RealProgram(
        "sqlite3",
        "import sqlite3\nfor journal in ('delete', 'wal', 'memory'):\n  d = sqlite3.connect(journal + '.db'); d.execute('pragma journal_mode=' + journal); e = sqlite3.connect(journal + '.db')\n  d.execute('create table t (x)'); d.executemany('insert into t values (?)', [(i,) for i in range(50)]); d.commit()\n  print(e.execute('select sum(x) from t').fetchone(), d.execute('vacuum').fetchone()); d.close(); e.close()",
        "(1225,) None\n(1225,) None\n(1225,) None",
    ),
    RealProgram(
        "sqlite3 from several processes",
        "import sqlite3, os\nd = sqlite3.connect('x.db', timeout=9); d.execute('create table t (x)'); d.commit(); d.close()\npids = []\nfor n in range(3):\n  pids.append(os.fork())\n  if pids[-1] == 0:\n    d = sqlite3.connect('x.db', timeout=9)\n    for i in range(20): d.execute('insert into t values (?)', (i,)); d.commit()\n    os._exit(0)\nprint([os.waitpid(p, 0)[1] for p in pids], sqlite3.connect('x.db').execute('select count(*) from t').fetchone())",
        "[0, 0, 0] (60,)",
    ),
    RealProgram(
        "shelve and mailbox",
        "import shelve, mailbox, dbm\nwith shelve.open('s') as s: s['a'] = [1]\nwith shelve.open('s') as s: print(s['a'])\nbox = mailbox.mbox('m'); box.lock(); box.add('x: y\\n\\nz'); box.flush(); box.unlock(); print(len(box))",
        "[1]\n1",
    ),
    RealProgram(
        "pickles and codecs",
        "import pickle, json, csv, gzip, bz2, lzma, zlib, base64, hashlib, struct, io, configparser, secrets, uuid, xml.etree.ElementTree as x\nprint(pickle.loads(pickle.dumps({1: 2})), lzma.decompress(lzma.compress(b'q')), hashlib.sha256(b'').hexdigest()[:6], len(secrets.token_bytes(9)), len(str(uuid.uuid4())), len(str(uuid.uuid1())), x.fromstring('<a/>').tag)",
        "{1: 2} b'q' e3b0c4 9 36 36 a",
    ),
    RealProgram(
        "signals and timers",
        "import signal, time, faulthandler, os\nsignal.signal(signal.SIGALRM, lambda *_: print('ring'))\nsignal.setitimer(signal.ITIMER_REAL, 0.02); signal.pause(); signal.alarm(1); print(signal.alarm(0)); faulthandler.enable()\nsignal.pthread_sigmask(signal.SIG_BLOCK, [10]); os.kill(os.getpid(), 10); print(signal.sigwait([10]) == 10, signal.sigtimedwait([12], 0.01)); time.sleep(0.01)\nfaulthandler.dump_traceback_later(9); faulthandler.cancel_dump_traceback_later(); print(time.monotonic() > 0, time.process_time() > 0, time.get_clock_info('time').resolution)",
        "ring\n1\nTrue None\nTrue True 1e-09",
    ),
    RealProgram(
        "processes by hand",
        "import os, select, mmap, resource, pwd, socket\nr, w = os.pipe()\npid = os.fork()\nif pid == 0: os.write(w, b'child'); os._exit(3)\nprint(select.select([r], [], [], 2)[0] == [r], os.read(r, 9), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\na, b = socket.socketpair(); a.send(b'!'); print(b.recv(1)); p = select.epoll(); p.register(a, select.EPOLLIN); print(p.poll(0))\nm = mmap.mmap(-1, 9, flags=mmap.MAP_PRIVATE); m[0] = 1; print(os.posix_spawn('/bin/true', ['true'], {}) > 0, os.wait()[1], resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0)\nresource.setrlimit(resource.RLIMIT_CPU, (9, 9)); print(os.cpu_count() > 0, len(os.sched_getaffinity(0)) > 0, os.get_exec_path()[-1], os.umask(0o22) >= 0, os.getpriority(os.PRIO_PROCESS, 0) >= 0)\npidfd = os.pidfd_open(os.getpid()); e = os.eventfd(1); print(os.eventfd_read(e), os.isatty(0), os.get_inheritable(e))",
        "True b'child' 3\nb'!'\n[]\nTrue 0 True True\nTrue True /bin True True\n1 False False",
    ),
    RealProgram(
        "locks on files",
        "import fcntl\nf = open('l', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); fcntl.lockf(f, fcntl.LOCK_UN); fcntl.fcntl(f, fcntl.F_SETFD, 1); print(fcntl.fcntl(f, fcntl.F_GETFD))",
        "1",
    ),
    RealProgram(
        "a deep recursion and a big number",
        "import sys, math\nsys.setrecursionlimit(5000)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(4000), len(hex(math.factorial(3000))), pow(3, 10**6, 10**9 + 7))",
        "4000 7585 64935414",
    ),
    RealProgram(
        "servers and clients of one program",
        "import socketserver, threading, socket, http.client\ns = socketserver.UnixStreamServer('u', type('H', (socketserver.StreamRequestHandler,), {'handle': lambda self: self.wfile.write(self.rfile.readline().upper())}))\nthreading.Thread(target=s.serve_forever, daemon=True).start()\nc = socket.socket(socket.AF_UNIX); c.settimeout(2); c.connect('u'); c.sendall(b'abc\\n'); print(c.recv(9)); s.shutdown()\nt = socket.socket(); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); t.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1); t.bind(('127.0.0.1', 0)); t.listen(); print(t.getsockname()[0])",
        "b'ABC\\n'\n127.0.0.1",
    ),
    RealProgram(
        "a compiler",
        "import shutil, subprocess\nopen('a.c', 'w').write('#include <stdio.h>\\nint main(void){printf(\"%d\", 6*7);}')\nprint(subprocess.run('gcc a.c -o a && ./a', shell=True, capture_output=True, text=True).stdout if shutil.which('gcc') else 42)",
        "42",
    ),
    RealProgram(
        "other interpreters",
        "import shutil, subprocess\nfor c in (['perl', '-e', 'print 2**10'], ['bash', '-c', 'x=(1 2 3); echo -n $((${#x[@]}*9)); ulimit -n >/dev/null; wait']):\n  print(subprocess.run(c, capture_output=True, text=True).stdout or subprocess.run(c, capture_output=True) if shutil.which(c[0]) else '', end=' ')",
        "1024 27 ",
    ),
)
