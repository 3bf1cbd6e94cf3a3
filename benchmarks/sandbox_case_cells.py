"""Notebooks whose answers are compared."""

from __future__ import annotations

from sandbox_cases import Case

_RICH = (
    "class R:\n    def _repr_html_(self):\n        return '<b>r</b>'\n    def __repr__(self):\n        return 'R'\nR()"
)
_BUNDLE = (
    "class B:\n    def _repr_mimebundle_(self, **k):\n        return {'text/plain': 'p', 'text/markdown': 'm'}\nB()"
)

CASES = (
    Case.cells("cells-none"),
    Case.cells("cells-empty", ""),
    Case.cells("cells-print", "print(1)"),
    Case.cells("cells-state", "a = 1", "a += 1", "print(a)"),
    Case.cells("cells-imports-stay", "import math", "math.pi > 3"),
    Case.cells("cells-functions-stay", "def f(x):\n    return x * 2", "f(3)"),
    Case.cells("cells-last-expression", "1 + 1"),
    Case.cells("cells-expression-not-last", "1 + 1\nx = 2"),
    Case.cells("cells-semicolon", "1 + 1;"),
    Case.cells("cells-assignment", "x = 5"),
    Case.cells("cells-none-value", "None"),
    Case.cells("cells-text-value", "'a\\nb'"),
    Case.cells("cells-long-list", "list(range(200))"),
    Case.cells("cells-nested", "{'a': [1, 2], 'b': {3}}"),
    Case.cells("cells-underscore", "41 + 1", "_ + 1"),
    Case.cells("cells-both", "print('p')\n7"),
    Case.cells("cells-stderr", "import sys; print('e', file=sys.stderr)"),
    Case.cells("cells-error", "1 / 0"),
    Case.cells("cells-error-in-the-middle", "a = 1", "raise ValueError('v')", "print(a)"),
    Case.cells("cells-error-after-output", "print('before')\n1 / 0"),
    Case.cells("cells-error-in-function", "def f():\n    return 1 / 0", "f()"),
    Case.cells("cells-syntax-error", "x = ("),
    Case.cells("cells-name-error", "y"),
    Case.cells("cells-sys-exit", "import sys; sys.exit(3)", "print('after')"),
    Case.cells("cells-keyboard-interrupt", "raise KeyboardInterrupt", "print('after')"),
    Case.cells("cells-os-exit", "print('a')", "import os; os._exit(3)", "print('after')", total_timeout=1),
    Case.cells("cells-input", "input('? ')"),
    Case.cells("cells-html", _RICH),
    Case.cells("cells-mimebundle", _BUNDLE),
    Case.cells("cells-display", "display(1, 'two')"),
    Case.cells("cells-display-html", "from IPython.display import HTML, display\ndisplay(HTML('<i>x</i>'))"),
    Case.cells("cells-sympy", "import sympy\nx = sympy.Symbol('x')\nx**2 / 2"),
    Case.cells("cells-numpy", "import numpy as np\nnp.arange(3)"),
    Case.cells("cells-await", "import asyncio\nawait asyncio.sleep(0)\n'awaited'"),
    Case.cells("cells-magic", "%precision 3", "3.14159"),
    Case.cells("cells-cell-magic", "%%capture out\nprint('x')", "out.stdout"),
    Case.cells("cells-shell", "!echo hi"),
    Case.cells("cells-help", "len?"),
    Case.cells("cells-name", "__name__, '__file__' in globals()"),
    Case.cells("cells-subprocess", "import subprocess; print(subprocess.check_output(['echo', 'hi']))"),
    Case.cells("cells-files", "print(open('a/b').read())", files={"a/b": "aW5zaWRl"}),
    Case.cells("cells-fetch", "open('o', 'w').write('x')", fetch_files=["o", "nothing"]),
    Case.cells("cells-cell-timeout", "import time; time.sleep(2); print('late')", "print('next')", cell_timeout=1),
    Case.cells("cells-total-timeout", "print('first')", "while True: pass", total_timeout=1),
    Case.cells("cells-total-timeout-negative", "print(1)", total_timeout=-20),
    Case.cells("cells-memory-limit", "x = bytearray(600 << 20); len(x)", memory_limit_MB=512),
    Case.cells("cells-kernel", "print(1)", kernel="python2"),
    Case.cells("cells-unknown-field", "print(1)", colour="red"),
    Case.cells("cells-of-numbers", 1),
    Case("cells-missing", "/run_jupyter", b"{}"),
    Case("cells-text", "/run_jupyter", b'{"cells": "print(1)"}'),
    Case("cells-malformed-json", "/run_jupyter", b"{"),
    Case.cells("cells-output-of-50-kb", "print('x' * 50_000)"),
    Case.cells("cells-unicode", "print('é✓')", "'数学'"),
    Case.cells(
        "cells-thread", "import threading\nt = threading.Thread(target=print, args=('t',))\nt.start()\nt.join()"
    ),
)
