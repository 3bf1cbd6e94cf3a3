"""What the sandbox client reads out of answers: files, memory limits, Jupyter cells."""

import copy
import pickle

import pytest

from sandbox_client import (
    ExecutionStatus,
    RunCodeRequest,
    RunJupyterRequest,
    SandboxInternalError,
    SandboxProtocolError,
    parse_run_code_response,
    parse_run_jupyter_response,
)
from sandbox_client._execution import out_of_memory

ENDPOINT = "http://127.0.0.1:8080"
TRACEBACK = 'Traceback (most recent call last):\n  File "main.py", line 1, in <module>\n'


@pytest.mark.parametrize(
    ("return_code", "stderr", "expected"),
    [
        (1, TRACEBACK + "MemoryError\n", True),
        (1, TRACEBACK + "MemoryError", True),
        (1, TRACEBACK + "MemoryError: no room\n\n", True),
        (1, TRACEBACK + "MemoryError\r\n", True),
        (1, TRACEBACK + "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8.00 TiB for an array\n", True),
        (1, TRACEBACK + "numpy.core._exceptions.MemoryError: Unable to allocate 8.00 TiB\n", True),
        (-9, "", True),
        (137, "anything\n", True),
        (None, TRACEBACK + "MemoryError\n", True),
        (1, "", False),
        (-11, "", False),
        (-15, "", False),
        (1, "MemoryError\n" + TRACEBACK + "ValueError: no\n", False),
        (1, TRACEBACK + "ValueError: MemoryError\n", False),
        (1, TRACEBACK + "MyMemoryErrorHandler: no\n", False),
        (1, TRACEBACK + "    MemoryError\n", False),
        (1, "a MemoryError\n", False),
    ],
)
def test_memory_limits_are_inferred(return_code, stderr, expected):
    """A last line that is a MemoryError, or SIGKILL, is a memory limit; a mention of one is not."""
    assert out_of_memory(return_code, stderr) is expected


def code_answer(status="Success", run_status="Finished", files=None, **result):
    run_result = {"status": run_status, "execution_time": 0.25, "return_code": 0, "stdout": "", "stderr": ""}
    answer = {"status": status, "message": "", "run_result": run_result | result}
    return answer if files is None else answer | {"files": files}


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (code_answer("Failed", return_code=1, stderr="MemoryError\n"), ExecutionStatus.MEMORY_LIMIT),
        (code_answer("Failed", return_code=-9), ExecutionStatus.MEMORY_LIMIT),
        (code_answer("Failed", return_code=1, stdout="MemoryError\n"), ExecutionStatus.FAILED),
        (code_answer("Failed", "TimeLimitExceeded", return_code=-9), ExecutionStatus.TIME_LIMIT),
        (code_answer(stderr="MemoryError\n"), ExecutionStatus.SUCCESS),
    ],
)
def test_only_failed_programs_run_out_of_memory(payload, status):
    """A program that handled its MemoryError, printed one, or ran out of time first, is not one out of memory."""
    assert parse_run_code_response(payload, ENDPOINT).status is status


def test_fetched_files_come_back_as_bytes():
    """Contents are decoded, whatever bytes they are, and a result that holds them can be pickled."""
    execution = parse_run_code_response(code_answer(files={"out/a.bin": "AGhp", "b": ""}), ENDPOINT)
    assert execution.files == {"out/a.bin": b"\x00hi", "b": b""}
    assert pickle.loads(pickle.dumps(execution)) == execution


@pytest.mark.parametrize("files", [[], "a", {"a": None}, {"a": 3}, {"a": "not base64!"}, {"a": "AGh"}])
def test_wrong_files_are_protocol_errors(files):
    """Files of the wrong type or coding are refused by name."""
    with pytest.raises(SandboxProtocolError, match="files"):
        parse_run_code_response(code_answer(files=files), ENDPOINT)


def test_files_may_be_missing_only_when_none_were_asked_for():
    """A server without files is complete for whoever wants none."""
    assert RunCodeRequest("", 1.0).parse(code_answer(), ENDPOINT).files == {}
    request = RunCodeRequest("", 1.0, fetch_files=("a.txt",))
    assert request.to_payload()["fetch_files"] == ["a.txt"]
    with pytest.raises(SandboxProtocolError, match="files"):
        request.parse(code_answer(), ENDPOINT)


def test_numbers_are_not_booleans():
    """JSON's true is not a return code, although Python takes it for 1."""
    with pytest.raises(SandboxProtocolError, match="return_code=True"):
        parse_run_code_response(code_answer(return_code=True), ENDPOINT)


CELLS = [
    {"stdout": "1\n", "stderr": "", "display": [], "error": []},
    {"stdout": "", "stderr": "warning\n", "display": [{"text/plain": "2", "image/png": "aGk="}], "error": []},
]
RAISED = {
    "stdout": "",
    "stderr": "",
    "display": [],
    "error": [{"ename": "ValueError", "evalue": "no", "traceback": ["line 1", "ValueError: no"]}],
}


def jupyter_answer(status="Success", driver_status="Finished", cells=CELLS, **driver):
    result = {"status": driver_status, "execution_time": 1.5, "return_code": 0, "stdout": "", "stderr": ""}
    return {
        "status": status,
        "message": "",
        "driver": result | driver,
        "cells": copy.deepcopy(cells),
        "executor_pod_name": None,
        "files": {"a": "aGk="},
    }


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (jupyter_answer(), ExecutionStatus.SUCCESS),
        (jupyter_answer(cells=[]), ExecutionStatus.SUCCESS),
        (jupyter_answer(cells=[*CELLS, RAISED]), ExecutionStatus.FAILED),
        (jupyter_answer("Failed", return_code=1, cells=[]), ExecutionStatus.FAILED),
        (jupyter_answer("Failed", "TimeLimitExceeded", return_code=None, cells=[]), ExecutionStatus.TIME_LIMIT),
        (jupyter_answer("Failed", "TimeLimitExceeded", cells=[RAISED]), ExecutionStatus.TIME_LIMIT),
    ],
)
def test_jupyter_status_is_derived(payload, status):
    """A cell that raises is a failure although the server says Success, and a time limit comes before it."""
    assert parse_run_jupyter_response(payload, ENDPOINT).status is status


def test_jupyter_cells_are_typed():
    """Everything that a cell left is there, and the whole can be pickled."""
    execution = parse_run_jupyter_response(jupyter_answer(cells=[*CELLS, RAISED]), ENDPOINT)
    one, two, three = execution.cells
    assert (one.stdout, two.stderr, two.display[0]["text/plain"]) == ("1\n", "warning\n", "2")
    assert (three.error[0].ename, three.error[0].evalue) == ("ValueError", "no")
    assert three.error[0].traceback == ("line 1", "ValueError: no")
    assert (execution.run, execution.files) == (1.5, {"a": b"hi"})
    assert pickle.loads(pickle.dumps(execution)) == execution


def test_jupyter_request_is_sandbox_fusions():
    """Every field of Sandbox Fusion's request is sent; an answer may take ten seconds longer than the cells."""
    request = RunJupyterRequest(("a = 1", "a"), 2.0, 5.0, files={"x": b"hi"}, fetch_files=("y",))
    assert request.to_payload() == {
        "cells": ["a = 1", "a"],
        "cell_timeout": 2.0,
        "total_timeout": 5.0,
        "kernel": "python3",
        "files": {"x": "aGk="},
        "fetch_files": ["y"],
    }
    assert request.seconds == 15.0


def set_at(payload, path, value):
    *parents, last = path
    for key in parents:
        payload = payload[key]
    payload[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("status",), "Great"),
        (("driver",), None),
        (("driver", "status"), "Lost"),
        (("driver", "return_code"), "0"),
        (("cells",), None),
        (("cells", 0), "1"),
        (("cells", 0, "stdout"), None),
        (("cells", 0, "stderr"), 1),
        (("cells", 0, "display"), ["2"]),
        (("cells", 2, "error"), {}),
        (("cells", 2, "error", 0), "ValueError"),
        (("cells", 2, "error", 0, "ename"), None),
        (("cells", 2, "error", 0, "evalue"), 1),
        (("cells", 2, "error", 0, "traceback"), "line"),
        (("cells", 2, "error", 0, "traceback"), [1]),
    ],
)
def test_wrong_jupyter_fields_are_protocol_errors(path, value):
    """A field of the wrong type anywhere is refused, and the error names it."""
    payload = jupyter_answer(cells=[*CELLS, RAISED])
    set_at(payload, path, value)
    name = next(key for key in reversed(path) if isinstance(key, str))
    with pytest.raises(SandboxProtocolError, match=name):
        parse_run_jupyter_response(payload, ENDPOINT)


@pytest.mark.parametrize(
    "payload",
    [{"status": "SandboxError", "message": "no kernel"}, jupyter_answer("Failed", "Error", stderr="no kernel")],
)
def test_jupyter_faults_of_the_sandbox_are_faults(payload):
    """What the sandbox got wrong raises, with its own words."""
    with pytest.raises(SandboxInternalError, match="no kernel"):
        parse_run_jupyter_response(payload, ENDPOINT)
