"""The agent loop between a faked server of verl's and a faked sandbox: what it hands on."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from omegaconf import OmegaConf
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, DictConfigWrap
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

from sandbox_client import CellExecution, ExecutionStatus, JupyterExecution
from tir_tools.demo.tokenizer import train_tokenizer
from verl_tir.rollout.agent_loop import TirAgentLoop
from verl_tir.rollout.observation import ProgramRun
from verl_tir.trajectory import Outcome

TURNS = ("```py\nfirst = 1\n```\n", "```py\nprint(first)\n```\n", "So \\boxed{1}.")
TRAINING = {"temperature": 1.0, "top_p": 0.9, "top_k": -1, "repetition_penalty": 1.0, "logprobs": False}
VALIDATION = {"temperature": 0.0, "top_p": 1.0, "top_k": 7, "repetition_penalty": 1.1, "logprobs": False}


class Server:
    """Says `TURNS` one after the other, and remembers what it was asked."""

    def __init__(self, tokenizer: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        self._turns = iter([tokenizer.encode(text, add_special_tokens=False) for text in TURNS])

    async def generate(self, **request: Any) -> TokenOutput:
        self.asked.append(request)
        return TokenOutput(token_ids=next(self._turns), stop_reason="completed")


class Sandbox:
    """Runs nothing, and remembers what it was given."""

    def __init__(self) -> None:
        self.programs: list[str] = []
        self.cells: list[list[str]] = []

    async def run(self, program: str) -> ProgramRun:
        self.programs.append(program)
        return ProgramRun(Outcome.SUCCESS, "1\n", "", 0)

    async def run_cells(self, cells: list[str]) -> JupyterExecution:
        self.cells.append(cells)
        done = tuple(CellExecution("1\n", "", (), ()) for _ in cells)
        return JupyterExecution(
            status=ExecutionStatus.SUCCESS, cells=done, stdout="", stderr="", return_code=0, execution_time=0.1
        )

    def snapshot(self) -> dict[str, Any]:
        return {}


@pytest.fixture(autouse=True)
def _shared() -> Iterator[None]:
    """The loops of a process share their settings; those of a test are its own."""
    before, TirAgentLoop._shared = TirAgentLoop._shared, None
    yield
    TirAgentLoop._shared = before


async def _roll_out(tir: dict[str, Any], sampling: dict[str, Any]) -> tuple[AgentLoopOutput, Server, Sandbox]:
    rollout = {"prompt_length": 2048, "response_length": 1000, "calculate_log_probs": False}
    config = OmegaConf.create({"tir": {"recipe": "test", **tir}, "data": {}, "actor_rollout_ref": {"rollout": rollout}})
    tokenizer = train_tokenizer(seed=0)
    server, sandbox = Server(tokenizer), Sandbox()

    async def the_sandbox() -> Sandbox:
        return sandbox

    loop = TirAgentLoop(
        trainer_config=DictConfigWrap(config),
        server_manager=server,
        tokenizer=tokenizer,
        processor=None,
        dataset_cls=RLHFDataset,
        data_config=DictConfigWrap(config.data),
        hf_model_type="qwen2",
    )
    loop.shared.sandbox = the_sandbox
    output = await loop.run(dict(sampling), raw_prompt=[{"role": "user", "content": "What is 1?"}])
    return output, server, sandbox


@pytest.mark.parametrize("sampling", [TRAINING, VALIDATION], ids=["training", "validation"])
async def test_sampling_parameters_are_verls(sampling: dict[str, Any]) -> None:
    """Those of training and those of validation reach the engine in every turn; only stops and limits are added."""
    output, server, _ = await _roll_out({}, sampling)
    assert output.extra_fields["tir"]["answer"] == "1"
    assert len(server.asked) == 3
    for request in server.asked:
        assert sampling.items() <= request["sampling_params"].items()
        added = request["sampling_params"].keys() - sampling.keys()
        assert added == {"stop", "include_stop_str_in_output", "skip_special_tokens", "max_tokens"}


async def test_all_turns_of_a_trajectory_go_to_one_server_and_go_on_from_its_tokens() -> None:
    """One request id, for the server that has the prefix cached; each context is the last one with what followed."""
    output, server, _ = await _roll_out({}, TRAINING)
    assert len({request["request_id"] for request in server.asked}) == 1
    contexts = [request["prompt_ids"] for request in server.asked]
    for before, after in itertools.pairwise(contexts):
        assert after[: len(before)] == before
    whole = output.prompt_ids + output.response_ids
    assert all(whole[: len(context)] == context for context in contexts)


@pytest.mark.parametrize("session", ["none", "replay", "jupyter"])
async def test_the_session_is_that_of_the_settings(session: str) -> None:
    """Each trajectory's programs run in a session of the configured kind."""
    output, _, sandbox = await _roll_out({"sandbox": {"session": session}}, TRAINING)
    assert output.num_turns == 6
    runs = sandbox.cells if session == "jupyter" else sandbox.programs
    # No mark of a replay comes from this sandbox, so a replay is followed by the program alone.
    assert len(runs) == (3 if session == "replay" else 2)
    assert ("first = 1" in str(runs[1])) is (session != "none")
    assert "print(first)" in str(runs[1])
