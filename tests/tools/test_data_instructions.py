"""Instructions in questions: those in use are taken off whole, and nothing of the mathematics is."""

from __future__ import annotations

import pytest
from templates import TEMPLATES

from tir_tools.data.instructions import bare
from verl_tir.rollout.prompt import templated_messages

QUESTION = "Let $x=2$ and $y=\\frac{1}{2}$. What is $x+y$?"

BEHIND = [
    'Let\'s think step by step and output the final answer after "####".',
    "Let's think step by step and output the final answer within \\boxed{}.",
    "Let\u2019s think step by step, and put your final answer within \\boxed{}.",
    "Let's think step by step.",
    "Please reason step by step, and put your final answer within \\boxed{}.",
    "Please reason step by step, and put your final answer within \\boxed{{}}.",
    "Please reason step by step, and put your final answer within $\\boxed{}$",
    "Please put your final answer within \\boxed{}.",
    "Make sure to put your final answer within \\boxed{}.",
    "Think step by step and put the final answer within \\boxed{}.",
    "Present the answer in LaTex format: \\boxed{Your answer}",
    "Return your final response within \\boxed{}.",
    'Remember to put your answer on its own line after "Answer:".',
    'Remember to put your answer on its own line after "Answer:", and you do not need to use a \\boxed command.',
    'Remember to put your answer on its own line at the end in the form "ANSWER: $ANSWER" (without quotes) where '
    "$ANSWER is the answer to the problem, and you do NOT need to use a \\\\boxed command.",
    "You FIRST think about the reasoning process as an internal monologue and then provide the final answer.\n The "
    "reasoning process MUST BE enclosed within <think> </think> tags. The final answer MUST BE put in \\boxed{}.",
    "First output the thinking process in <think> </think> tags and then output the final answer in <answer> "
    "</answer> tags.",
    "Show your work in <think> </think> tags. And return the final answer in <answer> </answer> tags.",
    "Put your final answer inside $\\boxed{ANSWER}$.",
    "Write your answer in \\boxed{} format.",
    "Please ensure that your final answer is enclosed within \\boxed{}.",
    "Write the final answer as \\boxed{your answer}.",
    "Show your work step by step.",
    "Let's think step by step\nAnswer:",
    "请一步一步地推理，并将你的最终答案放在\\boxed{}中。",
    "请通过逐步推理来解答问题，并把最终答案放置于\\boxed{}中。",
]
"""At the end of questions: of verl's, Qwen's, DeepSeek's, DAPO's, Eurus's, EasyR1's and others' data and prompts."""
BEFORE = [
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.\n\n",
    'Solve the following math problem step by step. The last line of your response should be of the form "ANSWER: '
    '$ANSWER" (without quotes) where $ANSWER is the answer to the problem.\n\n',
    "Solve the following math problem efficiently and clearly.  The last line of your response should be of the "
    "following format: 'Therefore, the final answer is: $\\boxed{ANSWER}$. I hope it is correct' (without quotes) "
    "where ANSWER is just the final number or expression that solves the problem. Think step by step before "
    "answering.\n\n",
    "Please reason step by step, and put your final answer within \\boxed{}\n",
    "Please solve this math question, and put your final answer within \\boxed{}.\n",
    "You must put your answer inside <answer> </answer> tags, i.e., <answer> answer here </answer>. And your final "
    "answer will be extracted automatically by the \\boxed{} tag.\nThis is the problem:\n",
]
"""At the beginning."""


@pytest.mark.parametrize("instructions", BEHIND)
@pytest.mark.parametrize("between", ["\n", "\n\n", " ", ""])
def test_instructions_behind_the_question_go(instructions: str, between: str) -> None:
    """Whatever is between it and the question, and after a question without a full stop."""
    for question in (QUESTION, "Find $x+y$" if between else QUESTION, "求最大值。"):
        found = bare(question + between + instructions)
        assert (found.text, found.left) == (question, None)
        assert "".join("".join(found.removed).split()) == "".join(instructions.split())


@pytest.mark.parametrize("instructions", BEFORE)
def test_instructions_before_the_question_go(instructions: str) -> None:
    """Alone, and together with others behind the question."""
    for behind in ("", "\n\n" + BEHIND[12]):
        found = bare(instructions + QUESTION + behind)
        assert (found.text, found.left) == (QUESTION, None)
        assert found.removed


@pytest.mark.parametrize(
    "question",
    [
        QUESTION,
        "What is the answer to $2+2$?",
        "Express your answer in simplest form.",
        "Express your answer in interval notation.",
        "Find $x$. Write your final answer as a common fraction.",
        "Give your answer as an integer.",
        "Present the answer in the form $a+b\\sqrt{c}$.",
        "Put the answer, $x$, in the box. How many boxes hold an answer?",
        "A student answers step after step. How many answers are right?",
        "A frog climbs step by step. How many steps?",
        "Solve the following problem: $x+1=2$.",
        "Solve the following system of equations step for step: $x+y=1$, $x-y=0$.",
        "Let's think of a number. What is it?",
        "This is the problem: find $x$ with $x^2=4$.",
        "An answer sheet has 5 answers. How many ways are there?",
        "He said: put your final answer within the box, and gave 3 answers.",
        "Please find the answer. Remember that $x>0$.",
        "Return to the first line. How many lines are on its side?",
        "Is $\\#A = 4$? Let \\# be a sign with $a \\# b = a+b$. Find $1 \\# 2$.",
        "After ## comes ###. What is next?",
    ],
)
def test_problems_stay(question: str) -> None:
    """What speaks of answers, boxes, steps and lines may be the problem: nothing goes, and nobody is warned."""
    found = bare(question)
    assert (found.text, found.removed, found.left) == (question, (), None)


@pytest.mark.parametrize(
    ("question", "left"),
    [
        ("Fill in the blank: $3+\\boxed{}=7$.", "\\boxed"),
        ("Find $x$. Give the answer in \\boxed{} as a fraction.", "\\boxed"),
        (
            "Find $x$. Please reason step by step, and put your final answer within \\boxed{} modulo 1000.",
            "reason step",
        ),
        ("Remember to put your answer on its own line? No: how many lines pass through 3 points?", "on its own line"),
        (
            "The last line of your response should be of the following format: '\\boxed{$ANSWER}' (without quotes), "
            "where ANSWER is an integer between 0 and 999 inclusive.\n\nFind $x$.",
            "last line of your",
        ),
        ("Find $x$. Write #### before it.", "####"),
        ("Find $x$. Give your final answer as \\boxed{m+n}.", "\\boxed"),
        ("Find $x$. Put your answer in \\boxed{0.xx}.", "\\boxed"),
        ("Find $x$. End with Answer: $Answer", "Answer: $Answer"),
        ("<|im_start|>user\nFind $x$.<|im_end|>\n<|im_start|>assistant\n", "<|im_start|>"),
        ("Think about it step by step, then find $x$ in <answer> and </answer>.", "Think about it step by step"),
        ("Put your final answer within \\boxed{}. How large is $x$ then? Find $x$ in \\boxed{}", "\\boxed"),
    ],
)
def test_what_may_be_an_instruction_is_warned_of(question: str, left: str) -> None:
    """Where a sentence is not known as a whole, or says something of the problem, it stays, and a person is told."""
    found = bare(question)
    assert found.left is not None
    assert found.left.startswith(left)
    assert found.text.endswith(question.strip()[-20:])


def test_between_problem_and_instructions_only_whole_sentences_go() -> None:
    """Taking off what stands at the ends leaves every word of what stands between."""
    middle = "Solve $x+1=2$. Let's think step by step. Then solve $x+2=2$."
    found = bare(f"{BEFORE[0]}{middle}\n\n{BEHIND[4]}")
    assert found.text == middle
    assert found.left is not None
    assert bare(found.text).text == middle


@pytest.mark.parametrize("template", [TEMPLATES["simpletir"], TEMPLATES["torl"]], ids=["simpletir", "torl"])
def test_the_recipes_own_prompts_are_not_doubled(template: str) -> None:
    """With a prompt of a recipe's, a bare question asks for the answer in one way."""
    (message,) = templated_messages([{"role": "user", "content": bare(f"{QUESTION} {BEHIND[0]}").text}], template)
    assert "####" not in message["content"]
    assert QUESTION in message["content"]
