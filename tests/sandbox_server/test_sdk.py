"""Sandbox Fusion's own Python SDK, unmodified, against the embedded server."""

import asyncio
import base64

import pytest
import sandbox_fusion as sdk

from sandbox_server import EmbeddedSandbox, ServerConfig

FINISHED, LATE = sdk.CommandRunStatus.Finished, sdk.CommandRunStatus.TimeLimitExceeded
ONCE = {"max_attempts": 1, "client_timeout": 30}


@pytest.fixture(scope="module")
def endpoint():
    """One server for all tests, which the SDK's functions are told of."""
    with EmbeddedSandbox(ServerConfig(port=0, workers=2)) as sandbox:
        sdk.set_endpoint(sandbox.endpoint)
        yield sandbox.endpoint


@pytest.fixture
def run(endpoint):
    """The SDK's answer to a program."""

    def call(code, **fields):
        return sdk.run_code(sdk.RunCodeRequest(code=code, language="python", **fields), **ONCE)

    return call


@pytest.fixture
def run_cells(endpoint):
    """The SDK's answer to a notebook."""

    def call(*cells, **fields):
        return sdk.run_jupyter(sdk.RunJupyterRequest(cells=list(cells), **fields), **ONCE)

    return call


def encoded(text):
    """As files travel."""
    return base64.b64encode(text.encode()).decode()


def test_a_program_succeeds(run):
    """Every field of the SDK's answer is filled as its own server fills it."""
    answer = run("print(6 * 7)")
    assert (answer.status, answer.message, answer.compile_result, answer.files) == (sdk.RunStatus.Success, "", None, {})
    result = answer.run_result
    assert (result.status, result.return_code, result.stdout, result.stderr) == (FINISHED, 0, "42\n", "")
    assert 0 <= result.execution_time < 5


def test_a_program_fails(run):
    """An exception in the program is a failure with a traceback, not an error of the sandbox."""
    answer = run("print('so far')\n1 / 0")
    assert (answer.status, answer.run_result.status) == (sdk.RunStatus.Failed, FINISHED)
    assert (answer.run_result.return_code, answer.run_result.stdout) == (1, "so far\n")
    assert answer.run_result.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_a_program_is_late(run):
    """A time limit is a failure without a return code."""
    answer = run("while True: pass", run_timeout=0.5)
    assert (answer.status, answer.run_result.status, answer.run_result.return_code) == (
        sdk.RunStatus.Failed,
        LATE,
        None,
    )
    assert sdk.summary_run_code_result(answer, sdk.SummaryMapping(RunTimeout="late")) == "late"


@pytest.mark.parametrize(
    ("code", "summary"), [("print(1)", "good"), ("1 / 0", "failed"), ("import os; os.abort()", "failed")]
)
def test_the_sdk_sums_up_an_answer(run, code, summary):
    """The SDK's own summary finds what it needs in the answer."""
    mapping = sdk.SummaryMapping(Success="good", RunFailed="failed")
    assert sdk.summary_run_code_result(run(code), mapping) == summary


def test_standard_input(run):
    """It is what the request says."""
    assert run("print(input()[::-1])", stdin="abc\n").run_result.stdout == "cba\n"


def test_files_go_in_and_come_back(run):
    """Files are given, null ones are skipped, and those asked for and present come back."""
    answer = run(
        "open('out.txt', 'w').write(open('in/a.txt').read().upper())",
        files={"in/a.txt": encoded("abc"), "none.txt": None},
        fetch_files=["out.txt", "nothing.txt"],
    )
    assert answer.files == {"out.txt": encoded("ABC")}


def test_another_language_is_refused(endpoint):
    """The SDK raises with the server's explanation."""
    with pytest.raises(Exception, match=r"code 422.*this server runs 'python' only"):
        sdk.run_code(sdk.RunCodeRequest(code="int main() {}", language="cpp"), **ONCE)


def test_many_at_once_with_threads(endpoint):
    """`run_concurrent` gets each answer in its place."""
    requests = [[sdk.RunCodeRequest(code=f"print({n})", language="python")] for n in range(12)]
    answers = sdk.run_concurrent(sdk.run_code, args=requests, concurrency=6)
    assert [answer.run_result.stdout for answer in answers] == [f"{n}\n" for n in range(12)]


async def test_many_at_once_with_asyncio(endpoint):
    """`run_code_async` gets each answer in its place."""
    requests = (sdk.RunCodeRequest(code=f"print({n})", language="python") for n in range(12))
    answers = await asyncio.gather(*(sdk.run_code_async(request, **ONCE) for request in requests))
    assert [answer.run_result.stdout for answer in answers] == [f"{n}\n" for n in range(12)]


def test_cells_share_their_names(run_cells):
    """A later cell sees what an earlier one left; a last expression is displayed."""
    answer = run_cells("a = 20", "a += 1; print(a)", "a * 2")
    assert (answer.status, answer.driver.status) == (sdk.RunStatus.Success, FINISHED)
    first, second, third = answer.cells
    assert (first.stdout, first.stderr, first.display, first.error) == ("", "", [], [])
    assert (second.stdout, second.display) == ("21\n", [])
    assert (third.stdout, third.display) == ("", [{"text/plain": "42"}])


def test_a_cell_fails(run_cells):
    """The error has a name, a value and a traceback, and the notebook continues as Sandbox Fusion's does."""
    answer = run_cells("a = 1", "print('so far')\nraise ValueError('no')", "print(a)")
    assert answer.status == sdk.RunStatus.Success
    _, failed, after = answer.cells
    (error,) = failed.error
    assert (failed.stdout, error["ename"], error["evalue"]) == ("so far\n", "ValueError", "no")
    assert "ValueError" in "\n".join(error["traceback"])
    assert (after.stdout, after.error) == ("1\n", [])


def test_a_cells_standard_error(run_cells):
    """It is kept apart from the output."""
    (cell,) = run_cells("import sys\nprint('o')\nprint('e', file=sys.stderr)").cells
    assert (cell.stdout, cell.stderr) == ("o\n", "e\n")


def test_cells_are_late(run_cells):
    """A notebook that overruns its total has failed."""
    answer = run_cells("print('first')", "while True: pass", total_timeout=1)
    assert answer.status == sdk.RunStatus.Failed
    assert answer.driver.status == LATE


def test_files_of_cells(run_cells):
    """Files are given to a notebook and come back from it."""
    answer = run_cells("open('b', 'w').write(open('a').read() * 2)", files={"a": encoded("x")}, fetch_files=["b"])
    assert answer.files == {"b": encoded("xx")}


async def test_cells_with_asyncio(endpoint):
    """`run_jupyter_async` speaks the same."""
    answer = await sdk.run_jupyter_async(sdk.RunJupyterRequest(cells=["print(3)"]), **ONCE)
    assert [cell.stdout for cell in answer.cells] == ["3\n"]
