"""The instructions put before the question."""

import textwrap

import pytest
from templates import TEMPLATES

from verl_tir.rollout.prompt import plain_text, templated_messages

SIMPLETIR_PROMPT = textwrap.dedent(
    r"""
    Solve the following problem step by step. You now have the ability to selectively write executable Python code to enhance your reasoning process. The Python code will be executed by an external sandbox, and the output (after "Code execution result: ") is returned to aid your reasoning and help you arrive at the final answer. The Python code should be complete scripts, including necessary imports.

    Code Format:
    Each code snippet is wrapped between ```. You need to use `print()` to output intermediate results.

    Answer Format:
    You can use the `final_answer()` function in the code to return your final answer. For example, to answer the User Question: What is the result of the 5 + 3 + 1294.678?, you can write:
    ```py
    answer = 5 + 3 + 1294.678
    final_answer(answer)
    ```

    You can also use \boxed to return your answer. The last part of your response should be:
    \boxed{'The final answer goes here.'}

    User Question:
    {question}"""  # noqa: E501
).removeprefix("\n")
"""As the paper prints it."""


def test_simpletir_prompt_is_word_for_word() -> None:
    """Published numbers were measured with exactly these words, and the question ends the message."""
    messages = [{"role": "user", "content": "What is {1 + 1}?\n"}]
    assert templated_messages(messages, TEMPLATES["simpletir"]) == [
        {"role": "user", "content": SIMPLETIR_PROMPT.replace("{question}", "What is {1 + 1}?\n")}
    ]


TORL_PROMPT = textwrap.dedent(
    r"""
    A conversation between User and Assistant. The user asks a question, and the Assistant solves it.
    User: Please integrate natural language reasoning with programs to solve the problem above, and put your final answer within \boxed{}.
    {question}
    Assistant:
    """  # noqa: E501
).removeprefix("\n")
"""As the paper prints it."""


def test_torl_prompt_is_word_for_word() -> None:
    """A base model's text: no roles are added, and it ends with a newline."""
    messages = [{"role": "user", "content": "What is {1 + 1}?"}]
    text = plain_text(templated_messages(messages, TEMPLATES["torl"]))
    assert text == TORL_PROMPT.replace("{question}", "What is {1 + 1}?")
    assert text.endswith("Assistant:\n")


def test_torl_prompt_holds_one_question() -> None:
    """Where the assistant is to speak, nothing may follow."""
    messages = [{"role": role, "content": "x"} for role in ("system", "user", "assistant", "user")]
    with pytest.raises(
        ValueError, match=r"tir\.prompt\.template lets the assistant answer .* use tir\.prompt\.template"
    ):
        templated_messages(messages, TEMPLATES["torl"])
    assert templated_messages(messages[:2], TEMPLATES["torl"])[0] == messages[0]


def test_only_the_first_user_message_changes() -> None:
    """System, assistant and later user messages stay as they are, and so do the caller's own."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?", "name": "ann"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "Two?"},
    ]
    before = [dict(message) for message in messages]
    result = templated_messages(messages, TEMPLATES["simpletir"])
    assert result[0] == messages[0]
    assert result[1] == {"role": "user", "content": SIMPLETIR_PROMPT.replace("{question}", "One?"), "name": "ann"}
    assert result[2:] == messages[2:]
    assert messages == before


def test_no_template_adds_nothing() -> None:
    """With `none` the data set's prompt is the prompt."""
    messages = [{"role": "user", "content": "One?"}]
    assert templated_messages(messages, TEMPLATES["none"]) == messages


@pytest.mark.parametrize(
    "content", [[{"type": "text", "text": "One?"}], None, {"text": "One?"}], ids=["list", "none", "dict"]
)
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_content_that_is_not_text_is_refused(content: object, template: str) -> None:
    """A multi-modal prompt is refused with its type and the fix, also where nothing would be added."""
    with pytest.raises(ValueError, match=rf"content of type {type(content).__name__}; .* make it a string"):
        templated_messages([{"role": "user", "content": content}], template)


@pytest.mark.parametrize("messages", [[], [{"role": "system", "content": "Be brief."}]], ids=["empty", "system"])
def test_prompt_without_a_user_is_refused(messages: list[dict]) -> None:
    """Where the question should stand is not guessed, and the message lists the roles there are."""
    roles = [message["role"] for message in messages]
    with pytest.raises(ValueError, match="no message with role 'user'") as error:
        templated_messages(messages, TEMPLATES["simpletir"])
    assert str(roles) in str(error.value)


def test_plain_text_is_the_contents() -> None:
    """A base model is given the contents, one newline after each, and no roles."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "One?"}]
    assert plain_text(messages) == "Be brief.\nOne?\n"
