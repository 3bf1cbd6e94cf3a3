"""Programs with a memory: what the later ones find, and what the model is shown, over the real embedded server."""

import logging
from collections.abc import Sequence

import pytest
from observations import OBSERVATIONS

from sandbox_client import (
    CellError,
    CellExecution,
    ExecutionStatus,
    JupyterExecution,
    SandboxClient,
    SandboxUnreachable,
)
from sandbox_server import EmbeddedSandbox, ServerConfig
from verl_tir.config import SandboxConfig, TirConfig, TirConfigError
from verl_tir.rollout.observation import ProgramRun, observe
from verl_tir.rollout.sandbox import Sandbox
from verl_tir.rollout.session import (
    NotebookSession,
    ReplaySession,
    SessionKind,
    find_mark,
    last_cell,
    open_session,
    replay_program,
)
from verl_tir.rollout.turn_rules.simpletir import program_of
from verl_tir.trajectory import Outcome

REMEMBERING = (SessionKind.REPLAY, SessionKind.JUPYTER)
SECONDS = 1.5


@pytest.fixture(scope="module")
def endpoint():
    """One server for all sessions."""
    with EmbeddedSandbox(ServerConfig(port=0, workers=1)) as sandbox:
        yield sandbox.endpoint


async def run_all(endpoint: str, kind: SessionKind, *programs: str) -> list[ProgramRun]:
    """The runs of one trajectory's programs."""
    config = SandboxConfig(endpoints=(endpoint,), run_timeout=SECONDS, session=kind)
    async with SandboxClient([endpoint]) as client:
        sandbox = Sandbox(client, config)
        run = open_session(kind, sandbox.run, sandbox.run_cells)
        return [await run(program) for program in programs]


async def test_without_a_session_nothing_is_kept(endpoint):
    """The default: SimpleTIR's fresh process for each program."""
    assert TirConfig("simpletir").sandbox.session is SessionKind.NONE
    first, second = await run_all(endpoint, SessionKind.NONE, "n = 4", "print(n)")
    assert (first.outcome, second.outcome) == (Outcome.SUCCESS, Outcome.FAILED)
    assert second.stderr.rstrip().endswith("NameError: name 'n' is not defined")


@pytest.mark.parametrize("kind", REMEMBERING)
async def test_names_imports_and_changes_are_kept_and_old_output_is_not(endpoint, kind):
    """Each program finds what all before it left, and shows what it prints itself, whatever those print."""
    runs = await run_all(
        endpoint,
        kind,
        "import math, sys\nn = 4\nprint('one', flush=True)\nprint('err', file=sys.stderr)",
        "import os\nn += 1\nos.write(1, b'raw')\nos.system('echo child; echo child >&2');",
        "print(math.sqrt(n + 4))",
        "print(n)",
    )
    assert [run.outcome for run in runs] == [Outcome.SUCCESS] * 4
    assert runs[0].stdout == "one\n"
    assert sorted(runs[1].stdout.replace("raw", "raw\n").split()) == ["child", "raw"]
    assert [(run.stdout, run.stderr) for run in runs[2:]] == [("3.0\n", ""), ("5\n", "")]


async def test_the_model_is_shown_the_same_error_as_without_a_session(endpoint):
    """The last line on stderr is the exception's, for errors of every kind; a notebook leaves its module out."""
    programs = [
        "1 / 0",
        "x = (",
        "raise ValueError('a')",
        "def f():\n    return g()\nf()",
        "import json\njson.loads('')",
    ]
    plain = await run_all(endpoint, SessionKind.NONE, *programs)
    replayed = (await run_all(endpoint, SessionKind.REPLAY, "a = 1", *programs))[1:]
    cells = (await run_all(endpoint, SessionKind.JUPYTER, "a = 1", *programs))[1:]
    for rule in OBSERVATIONS:
        texts = [[observe(run, rule, 512).text for run in runs] for runs in (plain, replayed, cells)]
        assert texts[0] == texts[1]
        assert texts[2] == [text.replace("json.decoder.", "") for text in texts[0]]


async def test_a_replayed_programs_traceback_is_its_own(endpoint):
    """Lines are counted within the program, its own frames are there, and none of the driver's."""
    run = (await run_all(endpoint, SessionKind.REPLAY, "def f(n):\n    return 1 / n", "a = 1\nf(0)"))[1]
    assert run.stderr.splitlines()[:3] == [
        "Traceback (most recent call last):",
        '  File "<program 2>", line 2, in <module>',
        '  File "<program 1>", line 2, in f',
    ]
    assert run.return_code == 1


@pytest.mark.parametrize("kind", REMEMBERING)
async def test_final_answer_and_future_imports_stay_right(endpoint, kind):
    """Every program has its own `final_answer`, and its own future imports come first."""
    future = "from __future__ import annotations\ndef f(x: Undefined): return x\nfinal_answer(f(6))"
    runs = await run_all(
        endpoint, kind, *map(program_of, ["final_answer(5)", future, "final_answer = None", "final_answer(7)"])
    )
    assert [run.stdout for run in runs] == ["\\boxed{5}\n", "\\boxed{6}\n", "", "\\boxed{7}\n"]


async def test_only_programs_that_succeeded_are_replayed(endpoint):
    """What a failed one did before its error is gone; a notebook keeps it."""
    programs = ("n = 1", "n = 2\n1 / 0", "print(n)")
    assert (await run_all(endpoint, SessionKind.REPLAY, *programs))[2].stdout == "1\n"
    assert (await run_all(endpoint, SessionKind.JUPYTER, *programs))[2].stdout == "2\n"


# Each succeeds, and makes trouble for what runs after it in the same process.
TROUBLE = {
    "names": "open = len = enumerate = print = earlier = shared = mark = None; import builtins; print = builtins.print",
    "builtins": "import builtins\nbuiltins.len = builtins.open = None",
    "exit": "import sys\nsys.exit(0)",
    "hard exit": "import os\nprint('x', flush=True)\nos._exit(0)",
    "stdout object": "import io, sys\nsys.stdout = sys.stderr = io.StringIO()",
    "stdout closed": "import sys\nsys.stdout.close()",
    "descriptor closed": "import os\nos.close(1)",
    "descriptors moved": "import os\nos.dup2(2, 1)",
    "fork": "import os\nif os.fork() == 0: print('child')\nelse: os.wait()",
    "hook": "import sys\nsys.excepthook = None",
    "all descriptors closed": "import os\nos.closerange(3, 100)",
    "driver killed": "import os, sys\nsys.modules['os'] = os.dup2 = None",
}


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE)
async def test_an_earlier_program_cannot_hide_a_later_ones_output(endpoint, trouble):
    """Whatever a replayed program does to its process, the new one runs once and is shown."""
    first, *later = await run_all(
        endpoint, SessionKind.REPLAY, trouble, "print('new')", "import os\nos.write(1, b'raw')", "1/0"
    )
    assert first.outcome is Outcome.SUCCESS
    assert [run.stdout for run in later] == ["new\n", "raw", ""]
    assert later[2].stderr.endswith("ZeroDivisionError: division by zero\n")


async def test_a_program_that_fails_when_it_is_replayed_is_counted(endpoint, caplog):
    """Its error is not the new program's: what it did until then stays, and the log says so."""
    unlucky = "import os\nn = 1\nif os.path.samestat(os.fstat(1), os.stat('/dev/null')): raise ValueError\nn = 2"
    with caplog.at_level(logging.WARNING, logger="verl_tir.rollout.session"):
        runs = await run_all(endpoint, SessionKind.REPLAY, "m = 0", unlucky, "print(n)", "print(n + m)")
    assert [(run.outcome, run.stdout, run.stderr) for run in runs[2:]] == [(Outcome.SUCCESS, "1\n", "")] * 2
    assert caplog.messages == [f"1 of {earlier} replayed programs failed this time" for earlier in (2, 3)]


async def test_the_time_limit_is_that_of_all_programs(endpoint):
    """Earlier programs use the new one's time up; it is told of a timeout and shown none of their output."""
    slow = f"import time\nprint('slow', flush=True)\ntime.sleep({SECONDS * 0.6})"
    for kind in REMEMBERING:
        first, second, third = await run_all(endpoint, kind, slow, f"{slow}\nprint('never')", "print('quick')")
        assert (first.outcome, second.outcome) == (Outcome.SUCCESS, Outcome.TIME_LIMIT)
        assert "never" not in second.stdout
        # The one that was late is not run again.
        assert (third.outcome, third.stdout) == (Outcome.SUCCESS, "quick\n")


async def test_a_notebook_shows_the_last_expressions_value(endpoint):
    """As a notebook does; statements and `;` show nothing, and what was printed comes first."""
    runs = await run_all(
        endpoint, SessionKind.JUPYTER, "n = 2", "print('p', end='')\nn + 1", "n;", "'a\\nb'", "print('q')"
    )
    assert [run.stdout for run in runs] == ["", "p\n3\n", "", "'a\\nb'\n", "q\n"]


@pytest.mark.parametrize(
    ("program", "outcome", "return_code"),
    [
        ("import sys; sys.exit(0)", Outcome.SUCCESS, 0),
        ("import sys; sys.exit(3)", Outcome.FAILED, 1),
        ("raise MemoryError", Outcome.MEMORY_LIMIT, 1),
        ("while True: pass", Outcome.TIME_LIMIT, None),
    ],
)
async def test_a_cells_outcome(endpoint, program, outcome, return_code):
    """A cell ends as a program would."""
    run = (await run_all(endpoint, SessionKind.JUPYTER, "a = 1", program))[1]
    assert (run.outcome, run.return_code) == (outcome, return_code)


async def test_a_notebook_whose_cells_end_the_kernel_starts_afresh(endpoint, caplog):
    """The new cell runs all the same, and the session goes on from it."""
    _, second, third = await run_all(
        endpoint, SessionKind.JUPYTER, "a = 1\nimport os\nos._exit(0)", "b = 2\nprint('a' in globals())", "b"
    )
    assert (second.stdout, third.stdout) == ("False\n", "2\n")
    assert "starting afresh" in caplog.text


class _Recorder:
    """A sandbox that answers what it is told, and remembers what it was asked."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[object] = []

    async def __call__(self, asked: object) -> object:
        self.asked.append(asked)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _cells(*cells: CellExecution, status: ExecutionStatus = ExecutionStatus.SUCCESS) -> JupyterExecution:
    return JupyterExecution(
        status=status, cells=cells, stdout="", stderr="", return_code=0, execution_time=0.5, wait=0.1, attempts=2
    )


EMPTY = CellExecution("", "", (), ())


async def test_a_fault_leaves_the_session_as_it_was():
    """A program that the service lost is not replayed: nobody knows what it did."""
    fault = SandboxUnreachable("refused", endpoint="http://sandbox:1")
    done = ProgramRun(Outcome.SUCCESS, "", "", 0)

    async def faulty(session: ReplaySession | NotebookSession) -> None:
        await session.run("a = 1")
        with pytest.raises(SandboxUnreachable):
            await session.run("b = 2")
        await session.run("c = 3")

    programs = _Recorder(done, fault, done, done)
    await faulty(ReplaySession(programs))
    assert programs.asked[0] == "a = 1"
    assert "a = 1" in programs.asked[2]
    assert "b = 2" not in programs.asked[2]
    cells = _Recorder(_cells(EMPTY), fault, _cells(EMPTY, EMPTY))
    await faulty(NotebookSession(cells))
    assert cells.asked == [["a = 1"], ["a = 1", "b = 2"], ["a = 1", "c = 3"]]


async def test_the_first_program_is_sent_as_it_is():
    """A trajectory of one program costs and means what it does without a session."""
    programs = _Recorder(ProgramRun(Outcome.SUCCESS, "session \n", "", 0))
    run = await ReplaySession(programs).run("print('session ')")
    assert (programs.asked, run.stdout) == (["print('session ')"], "session \n")


@pytest.mark.parametrize(
    ("stdout", "expected"),
    [
        ("", None),
        ("M", None),
        ("leaked\n", None),
        ("M[]\n", ("", ())),
        ("leaked M[]\n5\nM[]\n", ("5\nM[]\n", ())),
        ("M[1, 3]\n5", ("5", (1, 3))),
    ],
)
def test_what_stands_before_the_mark_is_dropped(stdout: str, expected: tuple[str, Sequence[int]] | None):
    """The first mark counts; without one and its line, the new program never began."""
    seen = find_mark(stdout, "M")
    failed = () if seen is None or not seen[1] else tuple(map(int, seen[1].split(",")))
    assert expected == (None if seen is None else (stdout[seen.end() :], failed))


def test_sources_are_quoted_whole(capfd):
    """Quotes, backslashes, braces and any letter reach the programs as they are; run here, without a sandbox."""
    odd = "s = '''\"\\\\n{}{{%s}}\\N{BULLET}\\r🙂\\u2028'''\r\nt = 1"
    exec(compile(replay_program([odd, "u = 2"], "print(ascii(s), t, u)", "M"), "driver", "exec"), {"__name__": "x"})
    scope: dict[str, object] = {}
    exec(odd, scope)
    assert capfd.readouterr().out == f"M[]\n{scope['s']!a} 1 2\n"


def test_ipythons_colours_and_signatures():
    """What Jupyter itself sends: colours, a traceback that ends with another line, several representations."""
    error = CellError(
        "KeyError", "'k'", ("\x1b[0;31mKeyError\x1b[0m", "Cell In[1], line 1", "\x1b[0;31mKeyError\x1b[0m: 'k'")
    )
    odd = CellError("SystemExit", "3", ("An exception has occurred, use %tb to see the full traceback.\n",))
    run = last_cell(_cells(EMPTY, CellExecution("out", "warned\n", ({"text/html": "<b>"},), (error,))), 2)
    assert run.stderr == "warned\nKeyError\nCell In[1], line 1\nKeyError: 'k'\n"
    assert (run.stdout, run.outcome) == ("out", Outcome.FAILED)
    assert run.call is not None
    assert (run.call.run, run.call.wait, run.call.attempts) == (0.5, 0.1, 2)
    assert last_cell(_cells(CellExecution("", "", (), (odd,))), 1).stderr.endswith("\nSystemExit: 3\n")
    died = last_cell(_cells(), 1)
    assert (died.outcome, died.stderr) == (Outcome.FAILED, "KernelDied: the notebook's kernel ended in this program\n")


def test_a_notebook_needs_time_for_its_kernel():
    """Sandbox Fusion takes ten seconds more for a kernel, and a call must be able to hear it out."""
    settings = {"session": "jupyter", "run_timeout": 3.0, "retry_total_seconds": 15.0}
    with pytest.raises(TirConfigError, match="session=jupyter it needs at least 15 seconds more than run_timeout"):
        TirConfig.from_node({"recipe": "simpletir", "sandbox": settings})
    TirConfig.from_node({"recipe": "simpletir", "sandbox": {**settings, "retry_total_seconds": 18.0}})
    TirConfig.from_node({"recipe": "simpletir", "sandbox": {**settings, "session": "replay"}})
