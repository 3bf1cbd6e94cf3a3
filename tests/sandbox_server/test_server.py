"""The embedded server as its callers see it: programs in, results out, over real HTTP."""

import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from sandbox_server import EmbeddedSandbox, ServerConfig

SUCCESS, FAILED, TIME_LIMIT = "Success", "Failed", "TimeLimitExceeded"
CONFIG = ServerConfig(port=0, workers=2, max_output_bytes=10_000, max_run_timeout=20.0)


@pytest.fixture(scope="module")
def endpoint():
    """One server for all tests: programs must not be able to tell."""
    with EmbeddedSandbox(CONFIG) as sandbox:
        yield sandbox.endpoint


@dataclass(frozen=True)
class Ran:
    """What a program gave."""

    status: str
    return_code: int | None
    stdout: str
    stderr: str
    execution_time: float


def run(endpoint, *programs, **options):
    """What `programs` gave, all sent at once."""
    with ThreadPoolExecutor(len(programs)) as senders:
        return list(senders.map(lambda code: run_one(endpoint, code, **options), programs))


def run_one(endpoint, code, **options):
    status, body = post(endpoint, code=code, language="python", **options)
    assert status == 200
    result = body["run_result"]
    ended = result.pop("status")
    return Ran(status=ended if ended == TIME_LIMIT else body["status"], **result)


def post(endpoint, path="/run_code", **body):
    """Status and decoded body of a raw request."""
    return send(endpoint, path, json.dumps(body).encode())


def send(endpoint, path, data, method=None):
    request = urllib.request.Request(endpoint + path, data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


@pytest.mark.parametrize(
    ("code", "status", "return_code", "stdout", "last_error_line"),
    [
        ("print(1+1)", SUCCESS, 0, "2\n", ""),
        ("", SUCCESS, 0, "", ""),
        ("import sys; print('é✓', file=sys.stderr)", SUCCESS, 0, "", "é✓"),
        ("print('before'); 1/0", FAILED, 1, "before\n", "ZeroDivisionError: division by zero"),
        ("x = (", FAILED, 1, "", "SyntaxError: '(' was never closed"),
        ("x\0", FAILED, 1, "", "cannot contain null bytes"),
        ("import nothing_of_that_name", FAILED, 1, "", "No module named 'nothing_of_that_name'"),
        ("def f(): f()\nf()", FAILED, 1, "", "maximum recursion depth exceeded"),
        ("import sys; sys.exit()", SUCCESS, 0, "", ""),
        ("import sys; sys.exit(3)", FAILED, 3, "", ""),
        ("import sys; sys.exit(-1)", FAILED, 255, "", ""),
        ("import sys; sys.exit('so long')", FAILED, 1, "", "so long"),
        ("import os; os._exit(7)", FAILED, 7, "", ""),
        ("import os; os.kill(os.getpid(), 9)", FAILED, -9, "", ""),
        ("import os; os.abort()", FAILED, -6, "", ""),
        ("raise KeyboardInterrupt", FAILED, -2, "", "KeyboardInterrupt"),
        ("import atexit; atexit.register(print, 'bye')", SUCCESS, 0, "bye\n", ""),
        ("import threading; threading.Timer(0.1, print, ['late']).start()", SUCCESS, 0, "late\n", ""),
        ("class C:\n  def __del__(self): print('gone')\nc = C()", SUCCESS, 0, "gone\n", ""),
        ("print(__name__, __file__.endswith('.py'))", SUCCESS, 0, "__main__ True\n", ""),
        ("import sys; print('verl_tir' in sys.modules, len(sys.argv))", SUCCESS, 0, "False 1\n", ""),
        ("import pickle\nclass C: pass\npickle.loads(pickle.dumps(C()))", SUCCESS, 0, "", ""),
        ("import sympy; x = sympy.symbols('x'); print(sympy.solve(x**2 - 4, x))", SUCCESS, 0, "[-2, 2]\n", ""),
        ("import numpy as np; print(np.linalg.det(np.eye(3)))", SUCCESS, 0, "1.0\n", ""),
        ("import subprocess; print(subprocess.check_output(['echo', 'hi']))", SUCCESS, 0, "b'hi\\n'\n", ""),
        ("from multiprocessing import Pool\nprint(Pool(2).map(abs, [-1, -2]))", SUCCESS, 0, "[1, 2]\n", ""),
    ],
)
def test_programs_end_as_under_cpython(endpoint, code, status, return_code, stdout, last_error_line):
    """Output, exit status and the last line of the error are what `python program.py` gives."""
    (execution,) = run(endpoint, code)
    assert (execution.status, execution.return_code, execution.stdout) == (status, return_code, stdout)
    assert last_error_line in (execution.stderr.splitlines() or [""])[-1]
    assert bool(execution.stderr) == bool(last_error_line)


def test_tracebacks_show_the_program_and_nothing_of_the_server(endpoint):
    """A traceback begins in the program's file and quotes its lines."""
    (execution,) = run(endpoint, "def f():\n    return 1 / 0\n\nf()\n")
    header, first, *_ = execution.stderr.splitlines()
    assert header == "Traceback (most recent call last):"
    assert first.endswith('.py", line 4, in <module>')
    assert "    return 1 / 0" in execution.stderr
    assert "child.py" not in execution.stderr


def test_standard_input_is_given(endpoint):
    """A program reads what the caller sends, however long, and then the end of the file."""
    text = "line\n" * 100_000
    (execution,) = run(endpoint, "import sys; print(len(sys.stdin.read()), sys.stdin.read())", stdin=text)
    assert execution.stdout == "500000 \n"
    (execution,) = run(endpoint, "input()")
    assert "EOFError" in execution.stderr


def test_files_go_in_and_out(endpoint):
    """Files are there before the program runs, and those asked for come back, except through links out."""
    code = "import os\nopen('out', 'w').write(open('in/a').read() * 2)\nos.symlink('/etc/passwd', 'link')"
    status, body = post(
        endpoint, code=code, language="python", files={"in/a": "YWI="}, fetch_files=["out", "link", "none", "../../etc"]
    )
    assert (status, body["status"], body["files"]) == (200, "Success", {"out": "YWJhYg=="})


def test_time_limit_is_kept_and_reported(endpoint):
    """A program that overruns is ended in time, and what it printed before is kept."""
    (execution,) = run(endpoint, "print('so far', flush=True)\nwhile True: pass", run_timeout=0.5)
    assert (execution.status, execution.return_code, execution.stdout) == (TIME_LIMIT, None, "so far\n")
    assert 0.5 <= execution.execution_time < 2.0


def test_time_limit_cannot_be_ignored(endpoint):
    """Masking signals and catching exceptions do not save a program from its limit."""
    code = "import signal\nfor n in (2, 15, 24): signal.signal(n, signal.SIG_IGN)\nwhile True: pass"
    (execution,) = run(endpoint, code, run_timeout=0.3)
    assert execution.status == TIME_LIMIT


def test_memory_limit_is_the_programs_failure(endpoint):
    """A program that asks for too much fails with MemoryError; one that stays below does not."""
    code = "x = bytearray({} << 20); print(len(x) >> 20)"
    (above,) = run(endpoint, code.format(300), memory_limit_MB=256)
    (below,) = run(endpoint, code.format(200), memory_limit_MB=256)
    assert (above.status, above.stderr.splitlines()[-1]) == (FAILED, "MemoryError")
    assert below.stdout == "200\n"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_flood_is_capped_and_does_not_block(endpoint, stream):
    """Megabytes of output are cut to the cap, and the program runs to its end."""
    code = f"import sys\nfor _ in range(1000): sys.{stream}.write('x' * 10_000)\nopen('done', 'w').close()"
    _, body = post(endpoint, code=code, language="python", fetch_files=["done"])
    assert (body["status"], body["files"]) == ("Success", {"done": ""})
    assert body["run_result"][stream] == "x" * CONFIG.max_output_bytes


def test_a_file_larger_than_the_limit_fails(endpoint):
    """Disk space is limited like memory is."""
    (execution,) = run(endpoint, "f = open('big', 'wb')\nfor _ in range(1000): f.write(bytes(1 << 20))")
    assert (execution.status, execution.return_code) == (FAILED, 1)
    assert "OSError" in execution.stderr


def test_sixty_four_at_once_all_succeed(endpoint):
    """Calls beyond the number of workers wait for their turn, and each gets its own answer."""
    executions = run(endpoint, *(f"print({n})" for n in range(64)))
    assert [execution.stdout for execution in executions] == [f"{n}\n" for n in range(64)]


def test_ping(endpoint):
    """The health check of Sandbox Fusion works."""
    assert send(endpoint, "/v1/ping", None) == (200, "pong")


def test_run_result_has_sandbox_fusions_fields(endpoint):
    """The answer has the fields of Sandbox Fusion's, and no others."""
    status, body = post(endpoint, code="print(1)", language="python", compile_timeout=5, something_new=1)
    assert status == 200
    assert body["run_result"].pop("execution_time") > 0
    assert body == {
        "status": "Success",
        "message": "",
        "compile_result": None,
        "run_result": {"status": "Finished", "return_code": 0, "stdout": "1\n", "stderr": ""},
        "executor_pod_name": None,
        "files": {},
    }


def test_half_of_a_surrogate_pair_is_the_programs_affair(endpoint):
    """Text that is not Unicode fails the program that has it, and never the server."""
    sent, printed = run(endpoint, "print('\ud800')", "print('\\ud800')")
    assert (sent.status, printed.status) == (FAILED, FAILED)
    assert "UnicodeEncodeError" in printed.stderr
    (raw,) = run(endpoint, r"import os; os.write(1, b'\xff\xed\xa0\x80')")
    assert set(raw.stdout) == {"\ufffd"}
