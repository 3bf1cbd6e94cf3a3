"""The cells of a notebook, run one after the other inside the program's process. Nothing of Jupyter is needed for it.

What is as under IPython: one namespace, the value of a cell's last expression is displayed unless a semicolon follows,
`_` and `display`, top-level `await`, rich representations, and that a cell that raises does not keep the next ones from
running. What is not: magics and `!` are syntax errors, tracebacks have no colours, `text/plain` is `repr`,
`input` always raises, `exit()` ends its cell and not the kernel, and `asyncio.run` works.

Each cell that ends leaves one line of JSON on a descriptor of the worker's, so that it survives whatever happens next.
The program can write there too: the server believes none of it before it has looked.
"""

import __future__

import ast
import builtins
import contextlib
import inspect
import io
import json
import linecache
import os
import signal
import sys
import types
from dataclasses import dataclass, field
from typing import Any

from sandbox_server.cell_output import bundle, cell_name, described, draw_without_screen, figures
from sandbox_server.json_bounds import refuse_dear
from sandbox_server.notebook_record import SHOWN_DEPTH, SHOWN_VALUES, Notebook, shown_bytes

_MARK = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_FUTURES = __future__.annotations.compiler_flag  # the others are in force anyway
_NOT_SHOWN = {"text/plain": "(not shown: no JSON, or more than the server returns)"}
_BRIEF = 100  # characters of an error's name where the rest does not fit


def run_cells(notebook: Notebook, main: types.ModuleType) -> int:
    """Run all cells in `main`'s namespace; returns the exit status: 1 when the record could not be kept, else 0."""
    with open(notebook.cells_fd, "rb") as file:
        cells = json.loads(file.read().decode("utf-8", errors="surrogatepass"))
    # Output of the interpreter's own end is nobody's cell.
    driver = [(number, os.dup(number)) for number in (1, 2)]
    kernel = _Kernel(notebook, main)
    try:
        for source in cells:
            kernel.run(source)
        status = 0
    except OSError as error:
        status = 1
        with contextlib.suppress(OSError):
            os.write(driver[1][1], f"the results of the cells could not be recorded: {error}\n".encode())
    kernel.close()
    for number, saved in driver:
        with contextlib.suppress(OSError):  # a program that closes what is not its own has closed these too
            os.dup2(saved, number)
            os.close(saved)
    return status


class _Output(io.FileIO):
    """One output stream of all cells. Beyond the cap, what is written is dropped, as it is for other programs."""

    def __init__(self, number: int, memfd: int, cap: int) -> None:
        os.dup2(memfd, number)
        super().__init__(number, "w", closefd=False)
        self._memfd = memfd
        self._left = cap
        self._cell_left = cap

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self._cell_left > 0:
            self._cell_left -= super().write(view[: self._cell_left]) or 0
        return len(view)

    def take(self) -> str:
        """What the cell wrote, its subprocesses too; the next cell begins with nothing."""
        kept = os.pread(self._memfd, self._left, 0)
        os.ftruncate(self._memfd, 0)
        self._left -= len(kept)
        self._cell_left = self._left
        return kept.decode("utf-8", errors="replace")


@dataclass
class _Kernel:
    """What passes from cell to cell."""

    notebook: Notebook
    main: types.ModuleType
    _number: int = 0
    _flags: int = 0
    _armed: bool = False
    _display: list[dict[str, object]] = field(default_factory=list)
    _runner: Any = None

    def __post_init__(self) -> None:
        self._pid = os.getpid()
        self._shown_left = shown_bytes(self.notebook.max_output_bytes)
        self._values_left = SHOWN_VALUES
        cap = self.notebook.max_output_bytes
        self._outputs = (_Output(1, self.notebook.stdout_fd, cap), _Output(2, self.notebook.stderr_fd, cap))
        errors = ("strict", "backslashreplace")
        # By lines, so that what a cell has printed before it is killed is there.
        self._streams = [
            io.TextIOWrapper(io.BufferedWriter(output), "utf-8", on_error, line_buffering=True)
            for output, on_error in zip(self._outputs, errors, strict=True)
        ]
        sys.stdout = sys.__stdout__ = self._streams[0]
        sys.stderr = sys.__stderr__ = self._streams[1]
        builtins.display = self._show
        builtins.input = _no_input
        draw_without_screen()
        if self.notebook.cell_timeout > 0:
            signal.signal(signal.SIGALRM, self._interrupt)

    def run(self, source: str) -> None:
        """Run one cell and record how it ended. Raises OSError when it cannot be recorded."""
        self._number += 1
        self._display = []
        error = self._attempt(source)
        if os.getpid() != self._pid:  # a fork that the cell's own code did not end must not run the next one
            if error is not None:
                sys.stderr.write("\n".join(described(error)["traceback"]) + "\n")
            self.close()
            os._exit(1 if error else 0)
        self._display += figures()
        self._flush()
        stdout, stderr = (output.take() for output in self._outputs)
        self._record(stdout, stderr, [described(error)] if error else [])

    def close(self) -> None:
        """End the event loop that cells may have started, and write out what is buffered."""
        if self._runner is not None:
            self._runner.close()
        self._flush()

    def _attempt(self, source: str) -> BaseException | None:
        limit = self.notebook.cell_timeout
        try:
            steps = self._compiled(source)
            if limit > 0:
                # Again and again, should the first interrupt be caught.
                signal.setitimer(signal.ITIMER_REAL, limit, limit)
            self._armed = True
            for code, shown in steps:
                value = self._evaluate(code)
                if shown and value is not None:
                    vars(self.main)["_"] = value
                    self._show(value)
            self._armed = False
        except BaseException as error:  # noqa: BLE001 - whatever a cell raises is its result
            self._armed = False
            return error
        finally:
            if limit > 0:
                signal.setitimer(signal.ITIMER_REAL, 0)
        return None

    def _compiled(self, source: str) -> list[tuple[types.CodeType, bool]]:
        """The cell's code objects, each with whether its value is displayed."""
        name = cell_name(self._number)
        # Without a time of modification the entry counts as loaded by hand, and is never looked for on disk.
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        tree = compile(source, name, "exec", ast.PyCF_ONLY_AST | _MARK | self._flags, dont_inherit=True)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        code = compile(tree, name, "exec", _MARK | self._flags, dont_inherit=True)
        self._flags |= code.co_flags & _FUTURES
        steps = [(code, False)]
        if last is not None:
            expression = compile(ast.Expression(last.value), name, "eval", _MARK | self._flags, dont_inherit=True)
            after = source.splitlines()[last.end_lineno - 1].encode()[last.end_col_offset :]
            steps.append((expression, not after.lstrip().startswith(b";")))
        return steps

    def _evaluate(self, code: types.CodeType) -> object:
        value = eval(code, vars(self.main))
        if not code.co_flags & inspect.CO_COROUTINE:
            return value
        if self._runner is None:
            import asyncio  # most programs do without it

            self._runner = asyncio.Runner()
        return self._runner.run(value)

    def _show(self, *values: object) -> None:
        """Jupyter's `display`, without its options."""
        for value in values:
            if shown := bundle(value):
                self._display.append(shown)

    def _flush(self) -> None:
        for stream in self._streams:
            try:
                stream.flush()
            except (OSError, ValueError):  # the program has closed it
                continue

    def _record(self, stdout: str, stderr: str, errors: list[dict[str, object]]) -> None:
        brief = [{"ename": str(error["ename"])[:_BRIEF], "evalue": "", "traceback": []} for error in errors]
        for display in (self._display, [_NOT_SHOWN]):
            try:
                shown = json.dumps([display, errors], allow_nan=False)
                values = refuse_dear(shown, self._values_left, SHOWN_DEPTH)
            except (TypeError, ValueError, RecursionError):  # a representation that is not JSON, or too large
                continue
            if len(shown) <= self._shown_left:
                self._shown_left -= len(shown)
                self._values_left -= values
                break
        else:
            shown = json.dumps([[], brief])
        line = f"[{json.dumps(stdout)},{json.dumps(stderr)},{shown[1:-1]}]\n"
        os.write(self.notebook.record_fd, line.encode())

    def _interrupt(self, number: int, frame: types.FrameType | None) -> None:
        # Not in the lines around the cell's code: what they have begun must be done, and the timer comes again.
        if self._armed and frame is not None and frame.f_code is not _Kernel._attempt.__code__:
            raise KeyboardInterrupt(f"the cell ran longer than cell_timeout, {self.notebook.cell_timeout:g} s")


def _no_input(prompt: object = "") -> str:
    raise EOFError
