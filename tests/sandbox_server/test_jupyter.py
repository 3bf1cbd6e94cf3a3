"""/run_jupyter as its callers see it: cells in, results out, over real HTTP."""

import base64
from unittest.mock import ANY

import pytest
from notebooks import CONFIG, cell, post, run

from sandbox_server import EmbeddedSandbox


@pytest.fixture(scope="module")
def endpoint():
    """One server for all tests: notebooks must not be able to tell."""
    with EmbeddedSandbox(CONFIG) as sandbox:
        yield sandbox.endpoint


def plain(text):
    return {"text/plain": text}


def test_the_answer_has_sandbox_fusions_fields(endpoint):
    """The answer has the fields of Sandbox Fusion's, and no others; so has each cell."""
    body = run(endpoint, "a = 'hello'", "a", "print(a)", kernel="python3", something_new=1)
    assert body["driver"].pop("execution_time") > 0
    assert body == {
        "status": "Success",
        "message": "",
        "driver": {"status": "Finished", "return_code": 0, "stdout": "", "stderr": ""},
        "cells": [cell(), cell(display=[plain("'hello'")]), cell(stdout="hello\n")],
        "executor_pod_name": None,
        "files": {},
    }


def test_no_cells_are_a_success(endpoint):
    """As there: nothing to do is done."""
    body = run(endpoint)
    assert (body["status"], body["cells"]) == ("Success", [])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", cell()),
        ("# nothing", cell()),
        ("1 + 1", cell(display=[plain("2")])),
        ("1 + 1;", cell()),
        ("1 + 1 ;  # quiet", cell()),
        ("1 + 1  # not; quiet", cell(display=[plain("2")])),
        ("(\n1 +\n1\n)", cell(display=[plain("2")])),
        ("None", cell()),
        ("x = 3", cell()),
        ("1\n2", cell(display=[plain("2")])),
        ("print('a'); 'b'", cell(stdout="a\n", display=[plain("'b'")])),
        ("import sys; n = sys.stderr.write('é')", cell(stderr="é")),
        ("display(1, 'a')\n2", cell(display=[plain("1"), plain("'a'"), plain("2")])),
        ("import subprocess; r = subprocess.run('echo out; echo err >&2', shell=True)", cell("out\n", "err\n")),
        ("import os\nif os.fork() == 0: print('child')\nelse: n = os.wait()", cell(stdout="child\n")),
        ("import os\nif os.fork() == 0: exit()\nos.wait()[1] >> 8", cell(stderr=ANY, display=[plain("1")])),
        ("import asyncio\nawait asyncio.sleep(0.01, 'later')", cell(display=[plain("'later'")])),
        ("async def f(): return 4\nr = await f()\nprint(r)", cell(stdout="4\n")),
        ("import asyncio\nasync def f(): return 5\nasyncio.run(f())", cell(display=[plain("5")])),
        ("print(__name__, '__file__' in globals())", cell(stdout="__main__ False\n")),
        ("import inspect\ndef f(): return 1\nprint(inspect.getsource(f))", cell(stdout="def f(): return 1\n\n")),
        ("import pickle\nclass C: pass\nisinstance(pickle.loads(pickle.dumps(C())), C)", cell(display=[plain("True")])),
        ("from multiprocessing import Pool\nPool(2).map(abs, [-1])", cell(display=[plain("[1]")])),
        ("import sys; sys.stdin.read()", cell(display=[plain("''")])),
        ("'\\ud800'", cell(display=[plain("'\\ud800'")])),
    ],
)
def test_a_cell_gives_what_it_gives_under_jupyter(endpoint, source, expected):
    """Output, the value of the last expression, and what was displayed on the way."""
    body = run(endpoint, source)
    assert (body["status"], body["cells"]) == ("Success", [expected])


def test_cells_share_one_namespace_and_notebooks_share_nothing(endpoint):
    """Names, imports, `_` and future statements pass from cell to cell, and not to the next request."""
    body = run(
        endpoint, "import math\nn = 4", "math.sqrt(n)", "_ + 1", "from __future__ import annotations", "def f(x: u): 1"
    )
    assert [c["display"] for c in body["cells"]] == [[], [plain("2.0")], [plain("3.0")], [], []]
    assert not any(c["error"] for c in body["cells"])
    (after,) = run(endpoint, "n")["cells"]
    assert after["error"][0]["ename"] == "NameError"


@pytest.mark.parametrize(
    ("source", "ename", "evalue"),
    [
        ("1 / 0", "ZeroDivisionError", "division by zero"),
        ("raise KeyError('k')", "KeyError", "'k'"),
        ("assert False", "AssertionError", ""),
        ("import sys; sys.exit(3)", "SystemExit", "3"),
        ("exit()", "SystemExit", "None"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
        ("input('? ')", "EOFError", ""),
        ("x = (", "SyntaxError", "'(' was never closed (Cell In[1], line 1)"),
        ("%matplotlib inline", "SyntaxError", "Magic commands"),
        ("x = 1\n!ls", "SyntaxError", "Shell commands"),
        ("files = !ls", "SyntaxError", "Shell commands"),
        ("print?", "SyntaxError", "help()"),
        ("def f(): f()\nf()", "RecursionError", "maximum recursion depth exceeded"),
        ("x\0", "SyntaxError", "null bytes"),
        ("class E(Exception):\n  def __str__(self): 1/0\nraise E", "E", "<exception str() failed"),
        ("await nothing", "NameError", "name 'nothing' is not defined"),
    ],
)
def test_a_cell_that_raises_does_not_stop_the_next(endpoint, source, ename, evalue):
    """As there: the error is the cell's, the cells after it run, and the request is a Success."""
    body = run(endpoint, source, "print('next')")
    failed, after = body["cells"]
    (error,) = failed["error"]
    assert (body["status"], error["ename"], after["stdout"]) == ("Success", ename, "next\n")
    assert evalue in error["evalue"]
    assert failed["stderr"] == ""
    assert all(isinstance(part, str) for part in error["traceback"])


def test_tracebacks_show_the_cells_and_nothing_of_the_server(endpoint):
    """Each frame quotes its cell with an arrow, causes come first, and the server's own frames are not there."""
    cells = (
        "def f(n):\n    return 1 / n",
        "try:\n    f(0)\nexcept ZeroDivisionError as e:\n    raise ValueError('v') from e",
    )
    error = run(endpoint, *cells)["cells"][1]["error"][0]
    text = "\n".join(error["traceback"])
    assert text.index("ZeroDivisionError: division by zero") < text.index("direct cause") < text.index("ValueError: v")
    assert "Cell In[1], line 2, in f\n      1 def f(n):\n----> 2     return 1 / n\n" in text
    assert "Cell In[2], line 4\n" in text
    assert "sandbox_server" not in text
    assert len("".join(run(endpoint, "def f(): f()\nf()")["cells"][0]["error"][0]["traceback"])) < 3000


def test_rich_representations(endpoint):
    """What a value says of itself by MIME type is displayed; bytes in base64, and a method that fails left out."""
    rich = (
        "class Rich:\n"
        "  def __repr__(self): return 'rich'\n"
        "  def _repr_html_(self): return '<b>'\n"
        "  def _repr_png_(self): return b'abc'\n"
        "  def _repr_latex_(self): return None\n"
        "  def _repr_svg_(self): raise ValueError('no svg')\n"
        "  def _repr_json_(self): return {'a': [1]}, {'meta': 1}\n"
        "Rich()"
    )
    bundle = "class B:\n  def _repr_mimebundle_(self, include, exclude): return {'text/plain': 'p', 'x/y': 'z'}\nB()"
    itself = "class I:\n  def _ipython_display_(self): print('myself')\nI()"
    not_json = "class N:\n  def _repr_json_(self): return {1, 2}\nN()"
    first, second, third, kind, last = run(endpoint, rich, bundle, itself, "Rich", not_json)["cells"]
    known = {"text/plain": "rich", "text/html": "<b>", "image/png": "YWJj", "application/json": {"a": [1]}}
    assert first["display"] == [known]
    assert "no svg" in first["stderr"]
    assert second["display"] == [{"text/plain": "p", "x/y": "z"}]
    assert (third["stdout"], third["display"]) == ("myself\n", [])
    assert list(kind["display"][0]) == ["text/plain"]
    assert "not shown" in last["display"][0]["text/plain"]


def test_figures_are_displayed_after_their_cell(endpoint):
    """What matplotlib holds when a cell ends is displayed as PNG, and once only."""
    pyplot = (
        "import os\nopen_figures = [1]\n"
        "class Figure:\n"
        "  def __repr__(self): return '<Figure>'\n"
        "  def savefig(self, file, **options): file.write(b'abc')\n"
        "def get_fignums(): return open_figures\n"
        "def figure(number): return Figure()\n"
        "def close(which): open_figures.clear()\n"
        "backend = os.environ['MPLBACKEND']\n"
    )
    files = {"matplotlib/__init__.py": "", "matplotlib/pyplot.py": base64.b64encode(pyplot.encode()).decode()}
    drawn, after = run(endpoint, "import matplotlib.pyplot as plt\nplt.backend", "1", files=files)["cells"]
    assert drawn["display"] == [plain("'agg'"), {"text/plain": "<Figure>", "image/png": "YWJj"}]
    assert after["display"] == [plain("1")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "cells: must be a list of strings"),
        ({"cells": "1"}, "cells"),
        ({"cells": ["1"] * 10_001}, "cells: 10001"),
        ({"cells": ["1"], "kernel": "julia"}, "kernel: 'julia'"),
        ({"cells": ["1"], "kernel": None}, "kernel: None"),
        ({"cells": ["1"], "total_timeout": 61}, "--max-run-timeout"),
        ({"cells": ["1"], "total_timeout": 0}, "total_timeout: 0"),
        ({"cells": ["1"], "cell_timeout": float("nan")}, "cell_timeout: nan"),
        ({"cells": ["1"], "files": {"a": None}}, "not base64"),
    ],
)
def test_requests_that_cannot_be_honoured_are_refused(endpoint, body, message):
    """What the server will not do as asked is a 422 that says so."""
    status, answer = post(endpoint, **body)
    assert status == 422
    assert message in answer["detail"][0]["msg"]
