"""The ablation benchmark: what it makes of a run's metrics, its intervals, and the sandbox that talks too much."""

import json
import math
import urllib.request
from dataclasses import replace

import pytest
from ablation import ARMS, Job, Setting, lock, main, settle, tell_estimate
from ablation_chain import Links, chain
from ablation_outcome import WINDOW, Interval, Outcome, against_first, by_turn, share_words, table
from ablation_sandbox import preamble, talkative
from trajectories import line, trajectory, turn

from sandbox_server import EmbeddedSandbox, IsolationPolicy, ServerConfig
from verl_tir.launch import compose_launch, register_groups
from verl_tir.metrics.log_probs import reduce_log_probs
from verl_tir.trajectory import Outcome as Ran

SETTING = Setting(steps=30, learning_rate=1e-3, problems=8, mini_batch=2, turns=8, talk=0.5)


def steps(correct, grad_norm=1.0, **more):
    """Metrics of training steps that solved these shares, and a validation before and after them."""
    training = [
        {
            "tir/correct_ratio": value,
            "tir/void_ratio": 0.25,
            "tir/turns/mean": 2.5,
            "actor/grad_norm": grad_norm,
            "actor/importance_ratio_max": 1.5,
            **more,
        }
        for value in correct
    ]
    return [validation(0.1), *training[:-1], training[-1] | validation(0.8)]


def validation(success):
    return {f"val-aux/{kind}/correct/mean@1": success + off for kind, off in (("a", -0.1), ("b", 0.1))}


def outcome(**fields):
    known = {"greedy": 0.9, "best": 0.8, "last": 0.8, "void": 0.0, "turns": 2.0, "grad_norm": 1.0, "ratio": 1.0}
    return Outcome(**{**known, "log_prob": (-1.0, -2.0, None, None), **fields})


def test_a_run_is_read_from_what_verl_logged():
    learned = Outcome.of(steps([0.2] * 5 + [0.9] * 5))
    assert learned.greedy == pytest.approx(0.8)
    assert (learned.best, learned.last, learned.void) == pytest.approx((0.9, 0.9, 0.25))
    assert (learned.ratio, learned.collapsed) == (1.5, False)


def test_what_was_learned_and_lost_is_a_collapse():
    """Half of the best window is the bound; a dip in the middle is none."""
    assert Outcome.of(steps([0.8] * 5 + [0.39] * 5)).collapsed
    assert not Outcome.of(steps([0.8] * 5 + [0.41] * 5)).collapsed
    assert not Outcome.of(steps([0.8] * 5 + [0.0] * 5 + [0.8] * 5)).collapsed


def test_a_number_that_is_none_is_seen():
    """NaN is neither passed over as the largest nor taken for success."""
    broken = steps([0.5] * 10)
    broken[3]["actor/grad_norm"] = math.nan
    assert math.isnan(Outcome.of(broken).grad_norm)
    assert Outcome.of(steps([0.8] * 5 + [math.nan] * 5)).collapsed


def test_a_turn_that_nobody_reached_has_no_log_probability():
    found = Outcome.of(steps([0.5] * 5, **{"tir/turn/1/log_prob/p1": -3.0, "tir/turn/2/log_prob/p1": -7.5}))
    assert found.log_prob == (-3.0, -7.5, None, None)


def test_too_short_a_run_is_refused():
    with pytest.raises(ValueError, match=f"at least {WINDOW}"):
        Outcome.of(steps([0.5] * (WINDOW - 1)))


def test_intervals_over_seeds():
    """Against t tables: 4.303 for two degrees of freedom; and the rule of three's exact form for 0 of 3."""
    interval = Interval.of([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.half == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)
    assert Interval.of([1.0]).words() == "1.00"
    assert share_words(0, 3) == f"0 of 3 [0.00, {1 - 0.025 ** (1 / 3):.2f}]"


def test_tables():
    arms = {
        "full": [outcome(), outcome(greedy=0.7)],
        "naive": [outcome(greedy=0.5, last=0.2), outcome(greedy=0.3, log_prob=(-1.0, -4.0, -9.0, None))],
    }
    head, full, naive = table(arms)
    assert head[0] == "arm"
    assert (full[1], naive[1]) == ("0.80 ± 1.27", "0.40 ± 1.27")
    assert (full[-1], naive[-1]) == ("0 of 2 [0.00, 0.84]", "1 of 2 [0.01, 0.99]")
    assert by_turn(arms)[2] == ("naive", "-1.0 ± 0.0", "-3.0 ± 12.7", "-9.0", "none")
    # Seed by seed the difference is the same, whatever the seeds' own.
    assert against_first(arms)[1][:2] == ("naive", "0.40 ± 0.00")


def of(*turns):
    """A trajectory of sound turns, and of void ones, which have a token below 1%."""
    improbable = reduce_log_probs([-0.1, math.log(0.009)])
    kinds = {"sound": turn(Ran.SUCCESS), "void": turn(void=True, log_probs=improbable), "empty": turn(log_probs=None)}
    return trajectory(*(kinds[name] for name in turns))


def test_turns_are_counted_where_they_stand():
    """By the first void turn: what is sampled behind it is no longer a turn among others."""
    sampled = [of("sound", "sound", "void", "sound", "void"), of("void"), of("sound"), of("empty", "void")]
    found = Links.of(sampled, steps([0.5] * 5)).improbable
    assert found == {"first turn": 0.0, "later turn": 0.0, "void turn": 1.0, "behind a void turn": 0.5}
    assert Links.of([trajectory(turn(Ran.SUCCESS, log_probs=reduce_log_probs([math.log(0.011)])))], []).improbable == {
        "first turn": 0.0
    }


def test_void_steps_and_gradients_are_correlated_over_the_steps_of_training():
    """A constant has no correlation, and neither has a run without a step."""
    rising = [{"tir/void_ratio": at / 4, "actor/grad_norm": 2.0 + at} for at in range(4)]
    assert Links.of([], [validation(0.1), *rising]).gradient == pytest.approx(1.0)
    assert Links.of([], rising[:1]).gradient is None
    assert Links.of([], steps([0.5] * 5)).gradient is None


def test_the_table_of_the_chain():
    arms = {"full": [Links({"first turn": 0.25}, None)], "naive": [Links({"void turn": 0.5}, -0.25)]}
    assert chain(arms)[1:] == [("full", "0.25", *["none"] * 4), ("naive", "none", "none", "0.50", "none", "-0.25")]


def test_a_folder_holds_one_setting(tmp_path):
    folder = tmp_path / "runs"
    settle(folder, SETTING)
    settle(folder, SETTING)
    with pytest.raises(SystemExit, match="another setting"):
        settle(folder, replace(SETTING, learning_rate=1e-4))
    assert json.loads((folder / "setting.json").read_text())["learning_rate"] == 1e-3


def test_two_processes_do_not_make_runs_in_one_folder(tmp_path):
    """The second one would delete what the first one is at."""
    lock(tmp_path)
    with pytest.raises(SystemExit, match="--finished"):
        lock(tmp_path)


def test_what_is_finished_is_shown_and_nothing_is_run(tmp_path, monkeypatch, capsys):
    """Only seeds that have all arms: a mean over other seeds than its neighbour's says nothing."""
    settle(tmp_path, Setting(steps=20, learning_rate=4e-4, problems=8, mini_batch=2, turns=6, talk=0.5))
    for arm, seed in [("simpletir", 0), ("naive_multi_turn", 0), ("simpletir", 1)]:
        run = tmp_path / f"{arm}-seed{seed}" / "demo-1"
        run.mkdir(parents=True)
        lines = [json.dumps({"step": at, "data": data}) + "\n" for at, data in enumerate(steps([0.5] * 6))]
        (run / "metrics.jsonl").write_text("".join(lines))
        (run / "trajectories" / "train").mkdir(parents=True)
        (run / "trajectories" / "train" / "000001.jsonl").write_text(json.dumps(line([], of("sound", "void"))) + "\n")
        (run.parent / "seconds.json").write_text("1.0")
    arms = ["--arms", "SimpleTIR", "naive multi-turn"]
    monkeypatch.setattr("sys.argv", ["ablation.py", f"--folder={tmp_path}", "--seeds", "0", "1", *arms, "--finished"])
    main()
    shown = capsys.readouterr().out
    assert "| naive multi-turn | 0.80 | 0.50 | 0.50 | 0.25 | 2.50 | 1.00 | 1.50 | 0 of 1" in shown
    assert "| naive multi-turn | 0.00 | none | 1.00 | none | none |" in shown


def test_the_estimate_is_by_the_runs_that_are_there(tmp_path, capsys):
    jobs = [Job("SimpleTIR", seed, tmp_path / f"{seed}") for seed in range(5)]
    for job in jobs[:2]:
        job.folder.mkdir()
        job.done.write_text("100.0")
    tell_estimate(jobs[2:], jobs, 2, cold=1)
    assert capsys.readouterr().out == "3 of 5 runs to go, 2 at a time: about 0:04:50\n"


@pytest.mark.parametrize("arm", ARMS)
def test_each_arm_composes(arm):
    """With verl's own configuration; the arms differ by their ablation only."""
    register_groups()
    overrides = ["+tir=simpletir", *SETTING.overrides("http://127.0.0.1:1")]
    config = compose_launch([*overrides, *([] if ARMS[arm] is None else [f"+ablation={ARMS[arm]}"])])
    assert config.tir.rollout.max_turns == 8
    assert config.actor_rollout_ref.actor.ppo_mini_batch_size == 2
    assert config.tir.filter.void == ("mask" if arm == "SimpleTIR" else "off")


def test_a_program_always_prints_the_same_preamble():
    """About the asked share of the programs, each of the kinds, and none where none is asked for."""
    programs = [f"print({number})" for number in range(400)]
    found = [preamble(code, 0.5) for code in programs]
    assert found == [preamble(code, 0.5) for code in programs]
    assert 160 < sum(map(bool, found)) < 240
    assert {text.strip()[:4] for text in found if text} >= {"/opt", "x   ", "20%|"}
    assert not any(preamble(code, 0.0) for code in programs)


def test_the_result_stays_the_last_line():
    """Through a real server: the preamble comes before what was printed, and an error has none."""
    config = ServerConfig(port=0, isolation=IsolationPolicy.BEST_EFFORT)
    with EmbeddedSandbox(config) as server, talkative(server.endpoint, 1.0) as endpoint:
        printed, failed = (ask(endpoint, code) for code in ("print(6 * 7)", "1/0"))
    assert printed["status"] == "Success"
    assert printed["run_result"]["stdout"] == preamble("print(6 * 7)", 1.0) + "42\n"
    assert (failed["status"], failed["run_result"]["stdout"]) == ("Failed", "")


def ask(endpoint, code):
    body = json.dumps({"code": code, "language": "python", "run_timeout": 5}).encode()
    request = urllib.request.Request(f"{endpoint}/run_code", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
