"""How notebooks end: in time, out of time, early, and when they spoil what they should leave alone."""

import json

import pytest
from notebooks import CONFIG, cell, run

from sandbox_server import EmbeddedSandbox
from sandbox_server.api import jupyter_response
from sandbox_server.frames import Job, ProgramReport, ProgramStatus
from sandbox_server.notebook_record import with_cells


@pytest.fixture(scope="module")
def endpoint():
    """One server for all tests: notebooks must not be able to tell."""
    with EmbeddedSandbox(CONFIG) as sandbox:
        yield sandbox.endpoint


def test_files_go_in_and_out(endpoint):
    """Files are there before the first cell, and those asked for come back."""
    body = run(endpoint, "n = open('b', 'w').write(open('a').read() * 2)", files={"a": "YWI="}, fetch_files=["b", "c"])
    assert (body["status"], body["files"]) == ("Success", {"b": "YWJhYg=="})


def test_a_cell_beyond_its_time_is_interrupted(endpoint):
    """The cell ends with a KeyboardInterrupt, also one that is stubborn once, and the next ones run."""
    stubborn = "import time\ntry:\n  time.sleep(9)\nexcept KeyboardInterrupt: print('once')\nwhile True: pass"
    body = run(endpoint, "while True: pass", stubborn, "print('next')", "while True: print(1)", cell_timeout=0.3)
    errors = [[error["ename"] for error in c["error"]] for c in body["cells"]]
    assert (body["status"], errors) == ("Success", [["KeyboardInterrupt"]] * 2 + [[], ["KeyboardInterrupt"]])
    assert "cell_timeout, 0.3 s" in body["cells"][0]["error"][0]["evalue"]
    assert (body["cells"][1]["stdout"], body["cells"][2]["stdout"]) == ("once\n", "next\n")
    assert 0.9 < body["driver"]["execution_time"] < 3.0


def test_what_was_done_before_the_time_is_up_is_kept(endpoint):
    """A notebook that runs out of time is Failed; cells that ended are there, and what the last one has printed."""
    body = run(endpoint, "print(1)\n2", "print(3)\nwhile True: pass", "4", total_timeout=0.5)
    assert (body["status"], body["driver"]["status"]) == ("Failed", "TimeLimitExceeded")
    assert body["driver"]["return_code"] is None
    assert body["cells"] == [cell("1\n", display=[{"text/plain": "2"}]), cell("3\n")]
    assert body["message"] == "the notebook ended in cell 2 of 3"


@pytest.mark.parametrize(
    ("end", "return_code"),
    [("os._exit(0)", 0), ("os._exit(3)", 3), ("os.kill(os.getpid(), 9)", -9), ("os.abort()", -6)],
)
def test_a_process_that_ends_early_is_failed(endpoint, end, return_code):
    """Whatever ended it, and whatever its exit status: not all cells ran, and the driver's status says how it was."""
    body = run(endpoint, "print(1)", f"import os; print(2); {end}", "3")
    assert (body["status"], body["driver"]["return_code"]) == ("Failed", return_code)
    assert body["cells"] == [cell("1\n"), cell("2\n")]


@pytest.mark.parametrize(
    "spoil",
    [
        "os.closerange(3, 256)",
        "os.closerange(0, 256)",
        "[os.write(fd, b'garbage\\n') for fd in range(3, 20) if os.path.exists(f'/proc/self/fd/{fd}')]",
        "[os.truncate(f'/proc/self/fd/{fd}', 1 << 25) for fd in range(3, 20) if os.path.exists(f'/proc/self/fd/{fd}')]",
        "sys.stdout.close(); sys.stderr = None; os.close(1)",
        "sys.modules.clear(); builtins = None",
        "import json; json.dumps = None",
    ],
)
def test_a_program_that_tampers_with_the_record_hurts_only_itself(endpoint, spoil):
    """The answer has what is sure, and the next notebook is answered as ever."""
    body = run(endpoint, "print(1)", f"import os, sys\n{spoil}", "print(3)")
    assert body["status"] in ("Success", "Failed")
    assert body["cells"][:1] in ([cell("1\n")], [cell()])
    assert run(endpoint, "1")["cells"] == [cell(display=[{"text/plain": "1"}])]


def test_floods_are_cut(endpoint):
    """Output is cut to the cap over all cells, and displays and errors to theirs; the cells run on."""
    flood = "for _ in range(1000): print('x' * 100)"
    shout = "import subprocess; r = subprocess.run(['head', '-c', '300000', '/dev/zero'])"
    body = run(
        endpoint, "print('first')", flood, shout, "'y' * 100_000", "raise ValueError('z' * 10**6)", "print(1)\n2"
    )
    assert body["status"] == "Success"
    outputs = [len(c["stdout"]) for c in body["cells"]]
    assert (outputs[0], sum(outputs)) == (6, CONFIG.max_output_bytes)
    assert "not shown" in body["cells"][3]["display"][0]["text/plain"]
    assert body["cells"][4]["error"][0]["ename"] == "ValueError"
    assert len(json.dumps(body)) < 400_000
    assert body["cells"][5]["display"] == [{"text/plain": "2"}]


def test_output_after_the_last_cell_is_the_drivers(endpoint):
    """Threads and exit handlers that outlive the cells are nobody's cell."""
    body = run(endpoint, "import atexit; f = atexit.register(print, 'bye')")
    assert (body["driver"]["stdout"], body["cells"]) == ("bye\n", [cell()])


def test_memory_is_limited(endpoint):
    """`memory_limit_MB` is kept to, which Sandbox Fusion takes and forgets."""
    failed, after = run(endpoint, "x = bytearray(300 << 20)", "1", memory_limit_MB=256)["cells"]
    assert (failed["error"][0]["ename"], after["display"]) == ("MemoryError", [{"text/plain": "1"}])


def deep(levels):
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'["a","b",[],[],1]',
        b'["a",1,[],[]]',
        b'["a","b",{},[]]',
        b'["a","b",["c"],[]]',
        b'["a","b",[{"x":NaN}],[]]',
        b'["a","b",[],[{"ename":"E"}]]',
        b'["a","b",[],[{"ename":"E","evalue":"v","traceback":"t"}]]',
        b'["a","b",[],[{"ename":"E","evalue":1,"traceback":[]}]]',
        f'["a","b",[{{"x":{deep(70)}}}],[]]'.encode(),
        f'["a","b",[{{"x":{deep(50_000)}}}],[]]'.encode(),
        b'["a","b",[{"x":' + b"9" * 5000 + b"}],[]]",
        b'["a","b",[{"x":1e400}],[]]',
        b'["a","b",[{"x":-1e999}],[]]',
        b'["a","b",[{"x":Infinity}],[]]',
        b'["a","b",[' + b"{}," * 200_000 + b"{}],[]]",
        b'["a","b",[{"x":[' + b"0," * 200_000 + b"0]}],[]]",
        b'["a","b",[],[{"ename":"E","evalue":"v","traceback":[' + b'"",' * 200_000 + b'""]}]]',
        b'["a","' + b"b" * 10_000 + b'",[],[]]',
        b'["' + b"\\ud800" * 4_000 + b'","b",[],[]]',
    ],
    ids=lambda line: line[:40],
)
def test_the_server_believes_no_record_that_it_could_not_have_had(line):
    """A malformed line ends the record, without harm to whoever reads it; the cells before it stand."""
    good = b'["a","b",[{"text/plain":"c"}],[]]\n'
    report = with_cells(
        ProgramReport(ProgramStatus.FINISHED, 0), 3, 1000, good + line + b"\n" + good, b"\xffd" * 1000, b""
    )
    assert (report.cells_finished, len(report.cells)) == (1, 2)
    assert len(report.cells[1].stdout) == 999
    job = Job(code="", run_timeout=1.0, memory_limit_mb=1, cells=["1", "2", "3"])
    assert json.loads(json.dumps(jupyter_response(report, job)))["cells"][0] == cell("a", "b", [{"text/plain": "c"}])


def test_an_honest_notebook_may_show_much(endpoint):
    """Cells that show lists of numbers show them; of one that would show too many it is said that it does not."""
    shows = "class L:\n  def __init__(self, n): self.n = n\n  def _repr_json_(self): return {'l': [0] * self.n}"
    body = run(endpoint, shows, *["L(500)"] * 8, "L(90_000)", "L(500)", "print([[1, 2]] * 2000)")
    shown = [cell["display"][0] if cell["display"] else None for cell in body["cells"]]
    assert all(len(item["application/json"]["l"]) == 500 for item in [*shown[1:9], shown[10]])
    assert "not shown" in shown[9]["text/plain"]
    assert body["status"] == "Success"
