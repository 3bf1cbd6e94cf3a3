"""The report in a real browser: what it shows, that no text of a model acts, and that it asks nothing of the network.

They need Debian's Chromium (`apt-get install chromium`). Without it they are skipped with that word, except where the
environment has `CI` or `REQUIRE_CHROMIUM`: there they fail.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from background import background
from chromium import Chromium, Page, find_chromium
from report_runs import unpack
from trajectories import line, trajectory, turn, write_dump

from tir_tools.report.compare import comparison_page
from tir_tools.report.page import report_page
from tir_tools.report.run_data import RunFiles, read_run
from verl_tir.trajectory import Outcome

pytestmark = pytest.mark.browser


Look = Callable[[Page], Awaitable[None]]
Visit = Callable[[Path, Look], None]


@pytest.fixture(scope="module")
def visit() -> Iterator[Visit]:
    """A function that opens a page and looks at it; the page must ask for nothing but itself, and have no error."""
    if find_chromium() is None:
        required = os.environ.get("CI") or os.environ.get("REQUIRE_CHROMIUM")
        assert not required, "there is no Chromium on this machine: apt-get install chromium"
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")

    async def go(path: Path, look: Look) -> None:
        async with browser.page() as page:
            await page.size(1400, 900)
            await page.open(path)
            await page.until("document.body.dataset.ready === 'yes'")
            await look(page)
            assert set(page.requests) == {path.resolve().as_uri()}
            assert page.errors == []

    with background() as loop:
        browser = Chromium()
        loop.run(browser.__aenter__())
        try:
            yield lambda path, look: loop.run(go(path, look))
        finally:
            loop.run(browser.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a real run."""
    folder = unpack("healthy", tmp_path_factory.mktemp("runs"))
    path = folder / "report.html"
    path.write_text(report_page(read_run(RunFiles.find(folder))))
    return path


def test_trajectories_are_found_and_read(healthy: Path, visit: Visit) -> None:
    """Filters narrow the list, a trajectory shows its text in colours, its tokens by probability, and its group."""

    async def look(page: Page) -> None:
        assert await page.evaluate("document.querySelectorAll('.chart svg').length") >= 18
        assert await page.evaluate("document.getElementById('count').textContent") == "832 of 832 match"
        choose = "document.querySelector('select[name={}]').value = {!r};"
        notify = "document.getElementById('filters').dispatchEvent(new Event('input'))"
        await page.evaluate(choose.format("step", "6") + choose.format("behaviour", "self-correction") + notify)
        found = await page.evaluate("document.getElementById('count').textContent")
        assert 0 < int(found.split()[0]) < 128
        await page.evaluate("document.querySelector('#list button').click()")
        text = await page.evaluate("document.getElementById('detail').textContent")
        assert "Turn 1, model" in text
        assert "program: failed" in text
        assert "program: success" in text
        assert await page.evaluate("document.querySelectorAll('#detail .part.tool').length") >= 2
        assert await page.evaluate("document.querySelectorAll('#detail .c-builtin').length") > 0
        heat, group = "document.querySelectorAll('.bar button')[0]", "document.querySelectorAll('.bar button')[1]"
        await page.evaluate(f"{heat}.click()")
        assert await page.evaluate(f"{heat}.getAttribute('aria-pressed')") == "true"
        title = await page.evaluate("document.querySelector('#detail pre span[title]').title")
        assert title.startswith("log-prob ")
        before = await page.evaluate("document.querySelector('#detail .part.model pre').textContent")
        await page.evaluate(f"{heat}.click()")
        assert await page.evaluate("document.querySelector('#detail .part.model pre').textContent") == before
        await page.evaluate(f"{group}.click()")
        assert await page.evaluate("document.querySelectorAll('.columns > section').length") == 8
        assert (await page.evaluate("location.hash")).startswith("#t-")

    visit(healthy, look)


def test_it_is_used_by_keyboard(healthy: Path, visit: Visit) -> None:
    """Arrow keys read a figure's values off and walk through the list."""

    async def look(page: Page) -> None:
        await page.evaluate("document.getElementById('fig-void').focus()")
        legend = "document.querySelector('#fig-void .legend b').textContent"
        last = await page.evaluate(legend)
        await page.press("Home")
        assert await page.evaluate("document.querySelector('#fig-void .at-step').textContent") == "step 1"
        assert await page.evaluate(legend) != last
        await page.evaluate("document.activeElement.blur()")
        assert await page.evaluate(legend) == last
        await page.evaluate("document.querySelector('#list button').focus()")
        for expected in (1, 2):
            await page.press("ArrowDown")
            current = "document.querySelector('#list [aria-current]').dataset.key"
            assert await page.evaluate(current) == str(expected)

    visit(healthy, look)


CONTRAST = """(() => {
  const known = new Map();
  const number = (colour) => {
    if (!known.has(colour)) known.set(colour, measured(colour));
    return known.get(colour);
  };
  const measured = (colour) => {
    const context = document.createElement('canvas').getContext('2d');
    context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => {
      const share = part / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
  };
  const light = (colour) => { const [r, g, b] = number(colour); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (colour !== 'rgba(0, 0, 0, 0)' && !colour.includes('/ 0.')) return colour;
    }
    return 'Canvas';
  };
  let worst = 99, where = '';
  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  for (const element of document.querySelectorAll('body *')) {
    if (element.closest('svg, script') || !element.getClientRects().length || !hasText(element)) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst) {
      worst = ratio;
      where = `${element.tagName}.${element.className}: ${element.textContent.slice(0, 40)}`;
    }
  }
  return [worst, where];
})()"""


@pytest.fixture(scope="module")
def comparison(healthy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real runs side by side."""
    folder = unpack("sandbox_down", tmp_path_factory.mktemp("runs"))
    first, second = (read_run(RunFiles.find(place)) for place in (healthy.parent, folder))
    path = folder / "comparison.html"
    path.write_text(comparison_page(first, second))
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["healthy", "comparison"])
def test_it_fits_a_phone_and_can_be_read(kind: str, dark: bool, visit: Visit, request: pytest.FixtureRequest) -> None:
    """Nothing is wider than a phone's screen, and text stands out from what is behind it (WCAG AA, 4.5 to 1)."""

    async def look(page: Page) -> None:
        for width, phone in ((390, True), (1600, False)):
            await page.size(width, 844, phone=phone, dark=dark)
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            ratio, where = await page.evaluate(CONTRAST)
            assert ratio >= 4.5, where

    visit(request.getfixturevalue(kind), look)


HOSTILE = (
    "<script>window.pwned=1</script>",
    "</script><script>window.pwned=2</script>",
    "<img src=x onerror=window.pwned=3>",
    "<!--<script>",
    "]]><svg onload=window.pwned=4>",
    "```py\nprint('</span><b onclick=window.pwned=5>x')\n```",
    "\u2028window.pwned=6//\u2029",
    "javascript:window.pwned=7",
    "{{ 7*7 }}{% raw %}",
    "\ud83d half, \x00 zero, \u202e turned round",
    "<base href=http://127.0.0.1:9/><link rel=stylesheet href=http://127.0.0.1:9/a.css>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "<style>body{display:none}</style><iframe src=http://127.0.0.1:9/></iframe>",
)


def test_nothing_that_a_model_wrote_acts(tmp_path: Path, visit: Visit) -> None:
    """Markup in a prompt, a text, an output, an answer, a benchmark or a reward is text, wherever it is shown."""
    everything = "\n".join(HOSTILE)
    turns = [turn(Outcome.SUCCESS), turn()]
    segments = [(role, everything) for role in ("prompt", "model", "tool", "model")]
    lines = [
        line(
            segments,
            trajectory(*turns, answer=text),
            uid="a",
            number=number,
            ground_truth=text,
            data_source=text,
            reason=text,
            fate="mask",
            reward_extra={text: text},
            fault=text,
        )
        for number, text in enumerate(HOSTILE)
    ]
    for item in lines:
        tokens = {"lengths": [5, len(everything) - 5], "log_probs": [-3.0, -0.2]}
        for said in item["turns"]:
            said |= {"tokens": tokens}
    write_dump(tmp_path / "trajectories", lines)
    path = tmp_path / "report.html"
    path.write_text(report_page(read_run(RunFiles.find(tmp_path))))

    async def look(page: Page) -> None:
        kinds = "img, iframe, link, base, b[onclick], svg[onload], body style, form[action]"
        unwanted = f"document.querySelectorAll('{kinds}').length"
        for number in range(len(HOSTILE)):
            await page.evaluate(f"document.querySelectorAll('#list button')[{number}].click()")
            for button in (0, 1):
                await page.evaluate(f"document.querySelectorAll('.bar button')[{button}].click()")
                assert await page.evaluate(unwanted) == 0
            await page.evaluate("document.querySelectorAll('.bar button')[1].click()")
        assert await page.evaluate("typeof window.pwned") == "undefined"
        assert await page.evaluate("document.querySelectorAll('script').length") == 3
        shown = await page.evaluate("document.querySelector('#detail .part.model pre').textContent")
        assert shown == everything

    visit(path, look)


def test_its_policy_refuses_what_would_act(healthy: Path, visit: Visit) -> None:
    """Were markup to get in after all, the page's own policy would keep scripts, handlers and addresses from acting."""

    async def look(page: Page) -> None:
        asked = list(page.requests)
        image = "<img src=http://127.0.0.1:9/x onerror=window.pwned=8><style>body { display: none }</style>"
        await page.evaluate(f"document.body.insertAdjacentHTML('beforeend', {image!r})")
        script = "Object.assign(document.createElement('script'), {text: 'window.pwned=9'})"
        await page.evaluate(f"document.body.append({script})")
        with pytest.raises(AssertionError, match="Failed to fetch"):
            await page.evaluate("fetch('http://127.0.0.1:9/')")
        assert await page.evaluate("typeof window.pwned") == "undefined"
        assert await page.evaluate("getComputedStyle(document.body).display") == "block"
        assert sum("Content Security Policy" in error for error in page.errors) >= 4
        page.errors.clear()
        page.requests[:] = asked

    visit(healthy, look)
