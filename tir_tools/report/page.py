"""The report as one HTML file: everything is in it, and the page forbids itself all else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tir_tools.report.catalogue import FIGURES
from tir_tools.report.drawing import BOTTOM, LEFT, RIGHT, TOP, Drawing, draw, sparkline
from tir_tools.report.embed import embed
from tir_tools.report.figure import Figure, lines_of
from tir_tools.report.key_figures import key_figures
from tir_tools.report.marks.mark import Level
from tir_tools.report.run_data import Run
from tir_tools.report.sample import choose
from verl_tir import __version__

TRAJECTORIES = 1000
"""How many a page shows of those that there are."""
MAX_MB = 6.0
"""Of packed trajectories, in MiB; a page is a third larger than that, and a little."""

_TEMPLATES = "templates"


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with what is drawn in it."""

    figure: Figure
    drawing: Drawing
    level: Level | None
    """Of the worst finding that it shows."""

    def data(self) -> dict[str, Any]:
        """What the page's script needs to read values off."""
        return {
            "unit": self.figure.unit,
            "first": self.drawing.first_step,
            "last": self.drawing.last_step,
            "lines": [
                {"x": [point.step for point in stroke.points], "y": [_rounded(point.value) for point in stroke.points]}
                for stroke in self.drawing.strokes
            ],
        }


def report_page(run: Run, trajectories: int = TRAJECTORIES, max_mb: float = MAX_MB, refresh: int | None = None) -> str:
    """The report of one run.

    Args:
        run: what was read of it.
        trajectories: how many are shown at most.
        max_mb: of their packed data, in MiB.
        refresh: seconds after which the page loads itself anew; None for never.
    """
    embedded = None
    if run.index is not None and run.index.entries:
        entries = run.index.entries
        embedded = embed(choose(entries, trajectories), len(entries), int(max_mb * 2**20))
    charts = charts_of(run)
    return render(
        "report.html",
        title=f"{run.name} - verl-tir report",
        charts_data=chart_data(charts),
        refresh=refresh,
        run=run,
        key_figures=key_figures(run.history),
        sections=by_section(charts),
        drawn={chart.figure.id for chart in charts},
        embedded=embedded,
        trajectories=embedded,
        scripts=("charts.js", "transcript.js", "browser.js"),
    )


def charts_of(run: Run) -> list[Chart]:
    """The figures for which the run has values."""
    found = []
    for figure in FIGURES:
        here = [finding for finding in run.findings if finding.figure == figure.id]
        worst = min(here, key=lambda finding: list(Level).index(finding.level), default=None)
        drawing = draw(
            lines_of(figure, run.history),
            figure.kind,
            figure.unit,
            may_be_log=figure.may_be_log,
            marked=None if worst is None else worst.steps,
        )
        if drawing is not None:
            found.append(Chart(figure, drawing, None if worst is None else worst.level))
    return found


def by_section(charts: Sequence[Chart]) -> dict[str, list[Chart]]:
    """In the order of the figures."""
    sections: dict[str, list[Chart]] = {}
    for chart in charts:
        sections.setdefault(chart.figure.section, []).append(chart)
    return sections


def chart_data(charts: Sequence[Chart]) -> dict[str, Any]:
    """For the page's script: the frame that all drawings share, and the values of each."""
    return {"left": LEFT, "right": RIGHT, "charts": {chart.figure.id: chart.data() for chart in charts}}


def render(template: str, *, scripts: Sequence[str], charts_data: Mapping[str, Any], **values: Any) -> str:
    """A page with its style, its scripts and the policy that allows these and nothing else."""
    style = _source("style.css") + _source("browser.css")
    script = "\n".join(["'use strict';", *(_source(name) for name in scripts)])
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            # Both are files of this package, and hold no end tag of their own.
            style=Markup(style),
            script=Markup(script),
            policy=policy,
            charts_data=charts_data,
            generated=datetime.now(UTC),
            version=__version__,
            top=TOP,
            bottom=BOTTOM,
            left=LEFT,
            right=RIGHT,
            **values,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tir_tools.report", _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sparkline"] = sparkline
    environment.filters["json"] = script_json
    return environment


def script_json(value: object) -> Markup:
    """JSON that stays JSON within a script element, whatever texts it holds."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for letter in "<>&'":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _hash(text: str) -> str:
    """As the page's policy names a script or style that may act."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"


@cache
def _source(name: str) -> str:
    return (files("tir_tools.report") / _TEMPLATES / name).read_text(encoding="utf-8")


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
