"""Figures and their geometry, and numbers in words."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from batches import measured, random_batch

from tir_tools.report.behaviours import Behaviour
from tir_tools.report.catalogue import FIGURES
from tir_tools.report.drawing import BOTTOM, LEFT, MOST_POINTS, RIGHT, TOP, draw, sparkline, thin
from tir_tools.report.figure import DataLine, Kind, lines_of
from tir_tools.report.history import History, Point, Series
from tir_tools.report.key_figures import key_figures
from tir_tools.report.words import Unit, spell
from verl_tir.dump.format import Fate


def series(*values: float) -> Series:
    """Values at steps from 1 on."""
    return tuple(Point(step, value) for step, value in enumerate(values, start=1))


SPELLED = {
    (0.384, Unit.SHARE): "38%",
    (0.0041, Unit.SHARE): "0.4%",
    (1.0, Unit.SHARE): "100%",
    (0.0, Unit.SHARE): "0%",
    (-0.00001, Unit.SHARE): "0%",
    (0.0042, Unit.SECONDS): "4.2 ms",
    (0.042, Unit.SECONDS): "42 ms",
    (12.34, Unit.SECONDS): "12.3 s",
    (600, Unit.SECONDS): "10 min",
    (12345.0, Unit.COUNT): "12,345",
    (1.5, Unit.COUNT): "1.5",
    (-14.0436, Unit.NATS): "-14",
    (0.24508, Unit.NUMBER): "0.245",
    (100.0, Unit.NUMBER): "100",
    (3.1e-9, Unit.NUMBER): "3.10e-09",
    (2.5e7, Unit.NUMBER): "2.50e+07",
}


@pytest.mark.parametrize(("number", "words"), SPELLED.items())
def test_numbers_in_words(number: tuple[float, Unit], words: str) -> None:
    """In three digits, with their unit."""
    assert spell(*number) == words


def test_lines_keep_within_their_frame() -> None:
    """Whatever the values; the ends of the line are the ends of the run, and the ticks name round numbers."""
    for values in ([0.0], [5.0, 5.0], [0.2, 0.9, 0.4], [-3, -14, -2], [1e-9, 2e-9], [1e9, -1e9], list(range(1000))):
        drawing = draw([DataLine("a", series(*values), 0)], Kind.LINES, Unit.NUMBER, marked=(1, 2))
        (stroke,) = drawing.strokes
        places = [tuple(map(float, place.split())) for place in stroke.path[1:].split("L")]
        assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in places)
        assert len(values) == 1 or (places[0][0], places[-1][0]) == (LEFT, RIGHT)
        assert 2 <= len(drawing.y_ticks) <= 8
        assert all(TOP <= tick.at <= BOTTOM for tick in drawing.y_ticks)
        assert drawing.band[0] >= LEFT
        assert drawing.band[0] + drawing.band[1] <= RIGHT


def test_values_lie_on_their_scale() -> None:
    """Zero is at the bottom, twice as much is twice as high, and the labels are those of their places."""
    drawing = draw([DataLine("a", series(0, 5, 10), 0)], Kind.LINES, Unit.NUMBER)
    heights = {float(tick.label): tick.at for tick in drawing.y_ticks}
    assert heights[0] == BOTTOM
    assert drawing.strokes[0].dots == (
        (LEFT, BOTTOM),
        ((LEFT + RIGHT) / 2, heights[10] / 2 + BOTTOM / 2),
        (RIGHT, heights[10]),
    )


def test_a_scale_by_powers_of_ten_is_taken_where_it_helps() -> None:
    """Where values lie two powers of ten apart, are positive, and the figure allows it."""
    for values, allowed, log in (([0.1, 50], True, True), ([0.1, 50], False, False), ([1, 2], True, False)):
        drawing = draw([DataLine("a", series(*values), 0)], Kind.LINES, Unit.NUMBER, may_be_log=allowed)
        assert drawing.logarithmic is log
    assert [
        t.label for t in draw([DataLine("a", series(0.1, 50), 0)], Kind.LINES, Unit.NUMBER, may_be_log=True).y_ticks
    ] == [
        "0.1",
        "1",
        "10",
        "100",
    ]


def test_areas_lie_on_top_of_each_other() -> None:
    """Each begins where the one below ends; a step that a line lacks counts as nothing."""
    drawing = draw([DataLine("a", series(1, 1), 0), DataLine("b", series(3, 1)[:1], 0)], Kind.STACK, Unit.COUNT)
    first, second = (re.findall(r"([\d.]+) ([\d.]+)", stroke.path) for stroke in drawing.strokes)
    assert first[:2] == second[:1:-1]
    assert drawing.strokes[1].points == ((1, 3), (2, 0))
    (alone,) = draw([DataLine("a", series(2), 0)], Kind.STACK, Unit.COUNT).strokes
    assert alone.path.startswith(f"M{LEFT} ")
    assert f"L{RIGHT} " in alone.path


def test_long_runs_keep_their_extremes() -> None:
    """A spike of one step among a hundred thousand is still there."""
    values = [1.0] * 100_000
    values[77_777] = 99.0
    thinned = thin(series(*values))
    assert len(thinned) <= MOST_POINTS + 2
    assert Point(77_778, 99.0) in thinned
    assert (thinned[0].step, thinned[-1].step) == (1, 100_000)
    assert draw([DataLine("a", series(*values), 0)], Kind.LINES, Unit.NUMBER).thinned
    assert len(sparkline(series(*values))) < 5000


def test_nothing_is_drawn_of_nothing() -> None:
    """No line, no figure."""
    assert draw([], Kind.LINES, Unit.NUMBER) is None
    assert draw([DataLine("a", (), 0)], Kind.STACK, Unit.NUMBER) is None
    assert sparkline(()) == ""


OWN = [
    *(f"dump/fate/{fate}" for fate in Fate),
    *(f"dump/behaviour/{behaviour}" for behaviour in Behaviour),
    *(f"dump/groups/{kind}" for kind in ("all wrong", "mixed", "all right")),
    "dump/source/a/correct",
    "dump/reason/void",
]
VERLS = [
    *(f"timing_s/{phase}" for phase in ("gen", "old_log_prob", "ref", "values", "adv", "testing", "save_checkpoint")),
    *(f"timing_s/{phase}" for phase in ("update_actor", "update_weights", "step")),
    *(f"actor/{name}" for name in ("grad_norm", "importance_ratio_max", "entropy", "ppo_kl")),
    "critic/rewards/mean",
    "rollout_corr/kl",
    "val-aux/a/correct/mean@1",
    "tir/filter/sampled/reward_mean",
    "tir/filter/evicted_groups/unsound/total",
]


def test_every_line_of_a_figure_has_a_metric() -> None:
    """A metric that is renamed would leave its figure empty without a word."""
    names = {*measured(random_batch(1, 300), "a"), *OWN, *VERLS}
    lacking = [
        (figure.id, line.metric)
        for figure in FIGURES
        for line in figure.lines
        if not any(re.fullmatch(line.metric, name) for name in names)
    ]
    assert lacking == []
    history = History({step: dict.fromkeys(names, 0.5) for step in (1, 2)})
    assert all(lines_of(figure, history) for figure in FIGURES)
    assert len(key_figures(history)) == 14
    assert {figure.figure for figure in key_figures(history)} <= {figure.id for figure in FIGURES}
    assert len({figure.id for figure in FIGURES}) == len(FIGURES)


def test_families_are_in_order_and_bounded() -> None:
    """Turn 10 would come after turn 9; more lines than one can tell apart are left out."""
    history = History({1: {f"val-aux/set {number}/correct/mean@1": 0.5 for number in range(1, 31)}})
    (figure,) = [figure for figure in FIGURES if figure.id == "validation"]
    assert [line.label for line in lines_of(figure, history)] == [f"set {number}, mean@1" for number in range(1, 10)]


def test_paths_are_svg() -> None:
    """A browser draws nothing of a path with `nan` in it."""
    drawing = draw([DataLine("a", series(0, 0), 0), DataLine("b", series(0, 0), 0)], Kind.STACK, Unit.SHARE)
    for stroke in drawing.strokes:
        assert re.fullmatch(r"M[\d. L]+Z", stroke.path)
    ElementTree.fromstring(f"<path d='{drawing.strokes[0].path}'/>")
