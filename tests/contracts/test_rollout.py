"""What the turn rules rely on in verl, vLLM and transformers, pinned."""

from __future__ import annotations

import inspect

from omegaconf import OmegaConf
from verl.experimental.agent_loop.agent_loop import AgentLoopBase
from verl.utils.tokenizer.continuous_token import ContinuousTokenBuilder

from tir_tools.demo.tokenizer import MESSAGE_END, train_tokenizer


def test_verl_builds_a_prompt_with_tools() -> None:
    """The tools' schemas reach the chat template, and None means none."""
    tokenizer = train_tokenizer(seed=0)
    tokenizer.chat_template = "{% for tool in tools or [] %}{{ tool.name }};{% endfor %}{{ messages[0].content }}"
    builder = ContinuousTokenBuilder(tokenizer)
    messages = [{"role": "user", "content": "hi"}]
    assert tokenizer.decode(builder.build_initial_tokens(messages, tools=[{"name": "run"}])) == "run;hi"
    assert tokenizer.decode(builder.build_initial_tokens(messages, tools=None)) == "hi"


def test_the_agent_loop_finds_the_chat_templates_settings() -> None:
    """The frame of a tool's message is rendered with what verl renders prompts with."""
    source = inspect.getsource(AgentLoopBase.__init__)
    assert 'self.apply_chat_template_kwargs = self.data_config.get("apply_chat_template_kwargs", {})' in source
    assert {**OmegaConf.create({"enable_thinking": False})} == {"enable_thinking": False}


def test_special_tokens_are_spelled_out_where_asked() -> None:
    """An observation's special tokens become ordinary ones, and decode to the same text."""
    tokenizer = train_tokenizer(seed=0)
    (end,) = tokenizer.encode(MESSAGE_END, add_special_tokens=False)
    spelled = tokenizer.encode(MESSAGE_END, add_special_tokens=False, split_special_tokens=True)
    assert end not in spelled
    assert tokenizer.decode(spelled, skip_special_tokens=False) == MESSAGE_END
    assert MESSAGE_END in tokenizer.get_added_vocab()


def test_vllm_looks_for_stop_strings_in_special_tokens_where_asked() -> None:
    """Text with special tokens in it is what the turn rules read, so the engine has to read the same."""
    from vllm import SamplingParams

    assert SamplingParams(stop=["</tool_call>"], skip_special_tokens=False).skip_special_tokens is False
