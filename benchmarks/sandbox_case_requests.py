"""Requests whose answers are compared: files, fields that are missing, of the wrong type, or out of range."""

from __future__ import annotations

import base64

from sandbox_cases import Case


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


_READ = (
    "import os\nprint(sorted((d, sorted(f)) for d, _, f in os.walk('.') if d != '.'))\nprint(open('a/b.txt').read())"
)
_FILE = {"a/b.txt": _encoded(b"inside")}
_WRITE = "import os\nos.makedirs('out/deep')\nopen('out/deep/x', 'w').write('1')\nopen('empty', 'w').close()"
_LINK = "import os\nos.symlink('/proc/sys/kernel/ostype', 'link')\nos.symlink('nowhere', 'dangling')"

FILES = (
    Case.program("files", _READ, files=_FILE),
    Case.program("files-of-bytes", "print(open('b', 'rb').read())", files={"b": _encoded(bytes(range(5)))}),
    Case.program("files-empty", "print(open('e').read())", files={"e": ""}),
    Case.program("files-null-content", "import os; print(os.path.exists('n'))", files={"n": None}),
    Case.program("files-no-object", "print(1)", files=["a"]),
    Case.program("files-null", "print(1)", files=None),
    Case.program("files-number-content", "print(1)", files={"a": 1}),
    Case.program("files-not-base64", "print(open('a').read())", files={"a": "?"}),
    Case.program("files-base64-with-newlines", "print(open('a').read())", files={"a": "YWJj\nZGVm\n"}),
    Case.program("files-base64-unpadded", "print(open('a').read())", files={"a": "YWI"}),
    Case.program("files-outside", "print(1)", files={"../../tmp/differential-outside": "YQ=="}),
    Case.program("files-unnamed", "print(1)", files={"": "YQ=="}),
    Case.program("files-directory", "print(1)", files={"a/": "YQ=="}),
    Case.program("files-below-a-file", "print(1)", files={"a": "YQ==", "a/b": "YQ=="}),
    Case.program("files-module", "import helper\nprint(helper.x)", files={"helper.py": _encoded(b"x = 4")}),
    Case.program("files-shadow-a-module", "import random\nprint(random.x)", files={"random.py": _encoded(b"x = 4")}),
    Case.program("files-shadow-numpy", "import numpy\nprint(numpy.x)", files={"numpy.py": _encoded(b"x = 4")}),
    Case.program("files-unicode-name", "print(open('é ✓').read())", files={"é ✓": _encoded(b"u")}),
    Case.program(
        "files-ignored", "import os; print(os.path.exists('IGNORE_THIS_FILE'))", files={"IGNORE_THIS_FILE": "YQ=="}
    ),
    Case.program("fetch", _WRITE, fetch_files=["out/deep/x", "empty"]),
    Case.program("fetch-dotted", _WRITE, fetch_files=["./out/deep/x", "out/../empty"]),
    Case.program("fetch-missing", "print(1)", fetch_files=["nothing"]),
    Case.program("fetch-directory", _WRITE, fetch_files=["out", ""]),
    Case.program("fetch-link-out", _LINK, fetch_files=["link", "dangling"]),
    Case.program("fetch-outside", "print(1)", fetch_files=["/etc/os-release-of-no-system", "../nothing"]),
    Case.program("fetch-twice", _WRITE, fetch_files=["empty", "empty"]),
    Case.program("fetch-given", "open('a/b.txt', 'a').write('!')", files=_FILE, fetch_files=["a/b.txt"]),
    Case.program("fetch-after-error", _WRITE + "\n1 / 0", fetch_files=["empty"]),
    Case.program("fetch-after-time-limit", _WRITE + "\nwhile True: pass", run_timeout=1, fetch_files=["empty"]),
    Case.program("fetch-null", "print(1)", fetch_files=None),
    Case.program("fetch-text", "print(1)", fetch_files="empty"),
    Case.program("fetch-numbers", "print(1)", fetch_files=[1]),
    Case.program("fetch-big", "open('big', 'wb').write(bytes(1 << 16))", fetch_files=["big"]),
)

FIELDS = (
    Case("malformed-json", "/run_code", b'{"code": '),
    Case("empty-body", "/run_code", b""),
    Case("body-not-utf8", "/run_code", b'{"code": "\xff", "language": "python"}'),
    Case("body-a-list", "/run_code", b"[1]"),
    Case("body-null", "/run_code", b"null"),
    Case("no-such-path", "/run_codes", b"{}"),
    Case.request("no-code", language="python"),
    Case.request("no-language", code="print(1)"),
    Case.request("no-fields"),
    Case.request("code-null", code=None, language="python"),
    Case.request("code-number", code=1, language="python"),
    Case.request("language-unknown", code="print(1)", language="klingon"),
    Case.request("language-capital", code="print(1)", language="Python"),
    Case.request("language-null", code="print(1)", language=None),
    Case.request("unknown-field", code="print(1)", language="python", colour="red"),
    Case.program("stdin-number", "print(1)", stdin=1),
    Case.program("stdin-null", "import sys; print(repr(sys.stdin.read()))", stdin=None),
    Case.program("stdin-surrogate", "import sys; print(ascii(sys.stdin.read()))", stdin="\ud800"),
    Case.program("timeout-zero", "print(1)", run_timeout=0),
    Case.program("timeout-negative", "print(1)", run_timeout=-1),
    Case.program("timeout-tiny", "while True: pass", run_timeout=0.05),
    Case.program("timeout-huge", "print(1)", run_timeout=1e9),
    Case.program("timeout-an-hour", "print(1)", run_timeout=3600),
    Case.program("timeout-text", "print(1)", run_timeout="5"),
    Case.program("timeout-word", "print(1)", run_timeout="soon"),
    Case.program("timeout-null", "print(1)", run_timeout=None),
    Case.program("timeout-true", "print(1)", run_timeout=True),
    Case("timeout-nan", "/run_code", b'{"code": "print(1)", "language": "python", "run_timeout": NaN}'),
    Case("timeout-infinite", "/run_code", b'{"code": "print(1)", "language": "python", "run_timeout": Infinity}'),
    Case.program("compile-timeout-word", "print(1)", compile_timeout="soon"),
    Case.program("compile-timeout-zero", "print(1)", compile_timeout=0),
    Case.program("memory-zero", "print(1)", memory_limit_MB=0),
    Case.program("memory-minus-one", "print(1)", memory_limit_MB=-1),
    Case.program("memory-fraction", "print(1)", memory_limit_MB=512.5),
    Case.program("memory-whole-float", "print(1)", memory_limit_MB=512.0),
    Case.program("memory-text", "print(1)", memory_limit_MB="512"),
    Case.program("memory-null", "print(1)", memory_limit_MB=None),
    Case.program("memory-a-terabyte", "print(1)", memory_limit_MB=1 << 20),
)

CASES = FILES + FIELDS
