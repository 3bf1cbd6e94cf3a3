"""The figures of a report, in the order in which they are read."""

from __future__ import annotations

from tir_tools.report.figure import COLOURS, Figure, Kind, Line
from tir_tools.report.words import Unit
from verl_tir.trajectory import Outcome

SECTIONS = (
    "Learning",
    "Tool use",
    "Tokens and stability",
    "Sandbox",
    "What reaches the update",
    "Time",
)
LEARNING, TOOLS, TOKENS, SANDBOX, GROUPS, TIME = SECTIONS

_BLUE, _ORANGE, _GREEN, _PURPLE, _RED, _TEAL, _OLIVE, _PINK, _GREY = range(COLOURS)
_STOPS = (
    Line("tir/stop/(answer)", "{}", _GREEN),
    Line("tir/stop/(void)", "{}", _ORANGE),
    Line("tir/stop/(turn_limit)", "{}", _BLUE),
    Line("tir/stop/(call_budget)", "{}", _TEAL),
    Line("tir/stop/(response_budget)", "{}", _OLIVE),
    Line("tir/stop/(tool_time)", "{}", _PURPLE),
    Line("tir/stop/(sandbox_fault)", "{}", _RED),
    Line("tir/stop/(engine_abort)", "{}", _PINK),
    Line("tir/stop/(prompt_too_long)", "{}", _GREY),
)
_OUTCOMES = {
    Outcome.SUCCESS: _GREEN,
    Outcome.FAILED: _ORANGE,
    Outcome.TIME_LIMIT: _PURPLE,
    Outcome.MEMORY_LIMIT: _OLIVE,
    Outcome.FAULT: _RED,
}

FIGURES = (
    Figure(
        "reward",
        LEARNING,
        "Reward",
        Unit.NUMBER,
        (
            Line("tir/filter/sampled/reward_mean", "all that was sampled"),
            Line("critic/rewards/mean", "what reached the trainer"),
        ),
        "The two part where gates replace groups: compare runs by what was sampled.",
    ),
    Figure(
        "correct",
        LEARNING,
        "Right answers, training",
        Unit.SHARE,
        (Line("tir/correct_ratio", "all"), Line("dump/source/(.+)/correct", "{}", verbatim=True)),
        "On one scale whatever the reward's; by benchmark where the data names several.",
    ),
    Figure(
        "validation",
        LEARNING,
        "Right answers, validation",
        Unit.SHARE,
        (Line(r"val-aux/(.+)/correct/mean@(\d+)", "{}, mean@{}", verbatim=True),),
        "By benchmark, over the trajectories that ran.",
    ),
    Figure(
        "groups",
        LEARNING,
        "Groups of one prompt",
        Unit.SHARE,
        (
            Line("dump/groups/(all wrong)", "{}", _ORANGE),
            Line("dump/groups/(mixed)", "{}", _BLUE),
            Line("dump/groups/(all right)", "{}", _GREEN),
        ),
        "Only mixed groups teach: in the others all advantages are zero.",
        Kind.STACK,
    ),
    Figure(
        "void",
        TOOLS,
        "Void trajectories",
        Unit.SHARE,
        (Line("tir/void_ratio", "trajectories"), Line(r"tir/turn/([1-5])/void_ratio", "of turn {}")),
        "A turn with neither code nor an answer. Rising in late turns only: the context after tool output is the "
        "trouble.",
    ),
    Figure(
        "turns",
        TOOLS,
        "Turns",
        Unit.NUMBER,
        (Line("tir/turns/mean", "mean"), Line("tir/turns/max", "most")),
        "Falling to one: the model has stopped using what its programs print.",
    ),
    Figure(
        "code",
        TOOLS,
        "Code",
        Unit.SHARE,
        (
            Line("tir/code_ratio", "trajectories with code"),
            Line("tir/code_pass_ratio", "programs that passed"),
            Line("tir/code_pass_ratio/correct", "passed, answer right"),
            Line("tir/code_pass_ratio/incorrect", "passed, answer wrong"),
        ),
        "Where the last two lie apart, code decides; where they do not, it does not.",
    ),
    Figure(
        "stop",
        TOOLS,
        "Why trajectories stopped",
        Unit.SHARE,
        _STOPS,
        "Sandbox faults and aborted requests say nothing about the model.",
        Kind.STACK,
    ),
    Figure(
        "behaviours",
        TOOLS,
        "Behaviours",
        Unit.SHARE,
        (Line("dump/behaviour/(.+)", "{}"),),
        "Counted by rules over programs, outputs and the answer; good for comparing steps and runs, not as a "
        "judgement.",
    ),
    Figure(
        "lengths",
        TOKENS,
        "Response length",
        Unit.COUNT,
        (
            Line("tir/tokens/response/p50", "half are shorter"),
            Line("tir/tokens/response/p90", "90% are shorter"),
            Line("tir/tokens/response/max", "longest"),
        ),
        "Tokens of model and tool.",
        may_be_log=True,
    ),
    Figure(
        "log_probs",
        TOKENS,
        "Token log-probability",
        Unit.NATS,
        (Line(r"tir/log_prob/(p50)", "{}"), Line(r"tir/log_prob/(p5)", "{}"), Line(r"tir/log_prob/(p1)", "{}")),
        "p1 falling: improbable tokens, whose gradients are large. p50 rising to 0: entropy runs out.",
    ),
    *(
        Figure(
            f"log_probs_turn{'' if percent == 1 else f'_p{percent}'}",
            TOKENS,
            f"{words} log-probability, by turn",
            Unit.NATS,
            (
                Line(rf"tir/turn/(\d)/log_prob/p{percent}", "turn {}"),
                Line(rf"tir/turn/(9)plus/log_prob/p{percent}", "turn {} and later"),
            ),
            "Falling in late turns, then spikes of the gradient norm: how SimpleTIR explains collapse.",
        )
        for percent, words in ((1, "Lowest 1% of"), (5, "Lowest 5% of"), (50, "Median"))
    ),
    Figure(
        "grad_norm",
        TOKENS,
        "Gradient norm",
        Unit.NUMBER,
        (Line("actor/grad_norm", "gradient norm"),),
        "Before clipping.",
        may_be_log=True,
    ),
    Figure(
        "ratio",
        TOKENS,
        "Importance ratio",
        Unit.NUMBER,
        (Line("actor/importance_ratio_max", "largest of the update"),),
        "It explodes on tokens that were improbable.",
        may_be_log=True,
    ),
    Figure(
        "policy",
        TOKENS,
        "Entropy and KL",
        Unit.NATS,
        (
            Line("actor/entropy", "entropy"),
            Line("actor/ppo_kl", "KL within the step"),
            Line("rollout_corr/kl", "KL engine to trainer"),
        ),
        "Entropy falling to zero ends exploration; the engine's KL grows with a mismatch in precision.",
    ),
    Figure(
        "calls",
        SANDBOX,
        "Programs by outcome",
        Unit.COUNT,
        tuple(Line(f"tir/tool/({outcome})/total", "{}", colour) for outcome, colour in _OUTCOMES.items()),
        "Per step. A fault is the sandbox's, all others are the program's.",
        Kind.STACK,
    ),
    Figure(
        "faults",
        SANDBOX,
        "Failed attempts",
        Unit.COUNT,
        (Line(r"tir/sandbox/attempts/(.+)/total", "{}"), Line("tir/sandbox/endpoints/broken/max", "endpoints out")),
        "By kind, retried ones included; zero is what it should be.",
        Kind.STACK,
    ),
    Figure(
        "latency",
        SANDBOX,
        "Latency of a call",
        Unit.SECONDS,
        tuple(Line(f"tir/sandbox/latency/({rank})", "{}") for rank in ("p50", "p90", "p99", "max")),
        "As the rollout saw it.",
        may_be_log=True,
    ),
    Figure(
        "latency_parts",
        SANDBOX,
        "Where a call's time goes",
        Unit.SECONDS,
        (
            Line("tir/sandbox/wait/mean", "wait in the client"),
            Line("tir/sandbox/connect/mean", "connect"),
            Line("tir/sandbox/queue/mean", "queue in the service"),
            Line("tir/sandbox/run/mean", "run of the program"),
        ),
        "Means. Wait high: raise tir.sandbox.max_concurrency. Queue high: more workers.",
        Kind.STACK,
    ),
    Figure(
        "fate",
        GROUPS,
        "What became of trajectories",
        Unit.COUNT,
        (
            Line("dump/fate/train", "trained on", _GREEN),
            Line("dump/fate/mask", "in the baseline only", _ORANGE),
            Line("dump/fate/drop", "left out", _RED),
            Line("dump/fate/evicted", "replaced with its group", _GREY),
        ),
        "Per step, of all that was sampled.",
        Kind.STACK,
    ),
    Figure(
        "reasons",
        GROUPS,
        "Why they were not trained on",
        Unit.COUNT,
        (Line("dump/reason/(.+)", "{}"),),
        "The rule that masked a trajectory, what aborted it, or the gate that refused its group.",
        Kind.STACK,
    ),
    Figure(
        "gates",
        GROUPS,
        "Groups replaced, by gate",
        Unit.COUNT,
        (Line("tir/filter/evicted_groups/(.+)/total", "{}"),),
        "Each costs a rollout. zero_variance: all samples of a prompt alike; unsound: lost to the sandbox.",
        Kind.STACK,
    ),
    Figure(
        "phases",
        TIME,
        "Time of a step",
        Unit.SECONDS,
        (
            Line("timing_s/gen", "generation with tools"),
            Line("timing_s/old_log_prob", "log-probs"),
            Line("timing_s/ref", "reference"),
            Line("timing_s/values", "values"),
            Line("timing_s/adv", "advantages"),
            Line("timing_s/update_actor", "update"),
            Line("timing_s/update_weights", "weights to the engine"),
            Line("timing_s/testing", "validation"),
            Line("timing_s/save_checkpoint", "checkpoint"),
        ),
        "By phase, as verl times them.",
        Kind.STACK,
    ),
    Figure(
        "trajectory_time",
        TIME,
        "Time of a trajectory",
        Unit.SECONDS,
        (
            Line("tir/agent_loop/generate_sequences/mean", "engine, mean"),
            Line("tir/agent_loop/tool_calls/mean", "sandbox, mean"),
            Line("tir/agent_loop/generate_sequences/max", "engine, longest"),
            Line("tir/agent_loop/tool_calls/max", "sandbox, longest"),
        ),
        "Trajectories run side by side; the longest is what a synchronous step waits for.",
        may_be_log=True,
    ),
)
