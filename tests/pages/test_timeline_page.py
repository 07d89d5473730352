"""The page of a run, opened in a real browser."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from tests.pages.conftest import MS, T0, call

from configurable_agents.runtime.timeline_page import timeline_page

UNKNOWN = "\N{EN DASH}"


class Opened:
    """A page with everything it asked for and complained of."""

    def __init__(self, browser: Any, file: Any, content: str, **options: Any) -> None:
        file.write_text(content, encoding="utf-8")
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("body[data-ready=yes] .row")


@pytest.fixture
def opened(browser, tmp_path):
    made: list[Opened] = []

    def open_it(timeline, **options) -> Opened:
        made.append(Opened(browser, tmp_path / "page.html", timeline_page(timeline), **options))
        return made[-1]

    yield open_it
    for each in made:
        each.context.close()


def test_the_waterfall_is_there_and_nothing_is_asked_of_any_network(opened, small):
    shown = opened(small)
    names = shown.page.locator(".row .name").all_inner_texts()

    assert names == ["plan", "left", "search <b>&", "right", "</script><script>boom()</script>"]
    assert shown.page.locator("h1").inner_text() == "triage"
    assert "5f2c9a0be1d84c7e" in shown.page.locator("#subtitle").inner_text()
    assert shown.complaints == []
    assert [url for url in shown.requests if not url.startswith(("file:", "data:"))] == []


def test_the_critical_path_is_marked_where_the_run_waited(opened, small):
    page = opened(small).page

    def pieces(name: str) -> list[tuple[int, int]]:
        """From and to in percent of the run."""
        row = page.locator(".row").filter(has=page.get_by_text(name, exact=True))
        lane = row.locator(".lane").bounding_box()
        boxes = [piece.bounding_box() for piece in row.locator(".piece").all()]
        return [
            (
                round(100 * (box["x"] - lane["x"]) / lane["width"]),
                round(100 * (box["x"] + box["width"] - lane["x"]) / lane["width"]),
            )
            for box in boxes
        ]

    assert pieces("plan") == [(0, 10)]
    assert pieces("left") == [(10, 20), (50, 70)]
    assert pieces("search <b>&") == [(20, 50)]
    assert pieces("right") == []
    assert page.locator("#advice").inner_text() == (
        "left is on the critical path for 30 % of the wall; twice as fast would save 150 ms (15.0 %)."
    )
    assert page.locator(".row.off .name").all_inner_texts() == ["right"]
    assert page.locator(".bar.error").count() == 1


def test_hovering_and_focusing_show_figures(opened, small):
    page = opened(small).page
    row = page.locator(".row").filter(has=page.get_by_text("left", exact=True))

    row.hover()
    tip = page.locator("#tip").inner_text()
    for figure in ("left", "600 ms", "60.0 %", "300 ms", "$0.0200"):
        assert figure in tip
    page.mouse.move(0, 0)
    assert not page.locator("#tip").is_visible()
    row.focus()
    assert page.locator("#tip").is_visible()


def test_it_can_be_filtered_narrowed_to_the_path_and_zoomed(opened, small):
    page = opened(small).page
    page.locator("#filter").fill("ri")
    assert page.locator(".row .name").all_inner_texts() == ["right", "</script><script>boom()</script>"]
    page.locator("#only").check()
    assert page.locator(".row .name").all_inner_texts() == ["</script><script>boom()</script>"]
    page.locator("#filter").fill("")
    assert page.locator(".row").count() == 4
    before = page.locator(".row .bar").nth(1).bounding_box()["width"]
    page.locator("#in").click()
    assert page.locator(".row .bar").first.bounding_box()["width"] != before
    page.locator("#all").click()
    assert page.locator(".row .bar").nth(1).bounding_box()["width"] == pytest.approx(before)


def test_nodes_and_costs_are_listed_and_unknown_costs_are_said_to_be_missing(opened, small):
    page = opened(small).page
    facts = page.locator("#facts").inner_text()
    assert "$0.0300 + 1 unpriced" in facts
    providers = page.locator("#providers").inner_text()
    assert providers.split() == ["openai", "$0.0200", "anthropic", "$0.0100", "acme", UNKNOWN]
    table = page.locator("#nodes")
    assert table.locator("tr").count() == 6
    table.get_by_role("button", name="Node").click()
    first = table.locator("tr").nth(1).locator("td").first.inner_text()
    table.get_by_role("button", name="Cost").click()
    costs = [row.locator("td").last.inner_text() for row in table.locator("tr").all()[1:]]
    assert (costs[0], UNKNOWN in costs) == ("$0.0200", True), "sorted by amount, unknown is not zero"
    assert first == "</script><script>boom()</script>"


def test_bars_are_as_long_as_their_amounts_whatever_stands_beside_them(opened, small):
    """Half a cent with a `+` has a longer label than a whole one without."""
    calls = (
        call(1, "a", "a-provider-with-a-long-name", 7_700_000),
        call(1, "b", "openai", 3_850_000),
        call(1, "b", "openai", 0, known=False),
        call(1, "c", "ollama", 0),
    )
    page = opened(replace(small, calls=calls)).page
    for chart in ("#costs", "#providers"):
        rows = page.locator(f"{chart} .amount").all()
        widths = [row.locator("i").bounding_box()["width"] for row in rows[:2]]
        assert widths[0] == pytest.approx(2 * widths[1], abs=1)
        shown = [row.locator("span").last.inner_text() for row in rows]
        assert shown == ["$0.0077", "$0.0039 +", "$0.0000"], "with the same decimals, and what was free too"


def test_calls_without_usage_are_told_from_calls_without_a_price(opened, small):
    run = replace(small.run, unpriced_calls=7, no_usage_calls=5, llm_calls=9)
    facts = opened(replace(small, run=run)).page.locator("#facts").inner_text()
    assert "$0.0300 + 2 unpriced + 5 without usage" in facts
    assert "12,345 +" in facts
    silent = replace(small.run, total_cost_nanos=0, total_tokens=0, unpriced_calls=3, no_usage_calls=3)
    facts = opened(replace(small, run=silent)).page.locator("#facts").inner_text().splitlines()
    assert f"{UNKNOWN} + 3 without usage" in facts
    assert UNKNOWN in facts


def test_what_lies_between_nodes_is_told(opened, small):
    idle = replace(small, spans=small.spans[:1])
    said = opened(idle).page.locator("#advice").inner_text()
    assert said == "90.0 % of the wall is between nodes: the workflow's own code, or waiting."
    asked = (call(0, "", "openai", 1)._replace(duration_ns=900 * MS, started_unix_ns=T0 + 100 * MS),)
    said = opened(replace(idle, calls=asked)).page.locator("#advice").inner_text()
    assert said == "90.0 % of the wall is between nodes: mostly model calls that were made in no node."


def test_what_is_not_known_to_cost_anything_has_no_bar(opened, small):
    page = opened(small).page
    bars = [row.locator("i").count() for row in page.locator("#providers .amount").all()]
    shown = [row.locator("span").last.inner_text() for row in page.locator("#providers .amount").all()]
    assert dict(zip(shown, bars, strict=True)) == {"$0.0200": 1, "$0.0100": 1, UNKNOWN: 0}


def test_what_the_run_waited_for_most_comes_first_also_when_it_was_no_node(opened, small):
    idle = replace(small, ended_unix_ns=small.ended_unix_ns + 9 * (small.wall_ns))
    page = opened(idle).page
    assert page.locator("#path .amount span").first.inner_text() == "between nodes"


@pytest.mark.parametrize("width", [360, 420, 800, 1280])
def test_times_on_the_axis_never_cover_each_other_nor_run_over_its_end(opened, small, width):
    page = opened(small).page
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function("document.querySelectorAll('#axis span').length > 0")
    boxes = page.locator("#axis span").evaluate_all(  # all at once: a change of the width draws them anew
        "marks => marks.map(mark => mark.getBoundingClientRect().toJSON())"
    )
    assert len(boxes) >= 2
    for one, other in pairwise(boxes):
        assert one["x"] + one["width"] <= other["x"]
    whole = page.locator("#axis").evaluate("axis => axis.scrollWidth <= axis.clientWidth")
    assert whole, "the last time is cut off"


def test_a_run_of_5000_executions_opens_without_complaint_draws_what_is_seen_and_scrolls(opened, large):
    shown = opened(large)
    page = shown.page

    assert shown.complaints == []
    assert "5,000 of 5,000 executions" in page.locator("#count").inner_text()
    assert page.locator(".row").count() < 100
    page.locator("#scroll").evaluate("element => { element.scrollTop = element.scrollHeight; }")
    page.wait_for_function("document.querySelectorAll('.row')[10].style.top > '100000px'")
    assert shown.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_light_and_on_dark(opened, small, scheme):
    page = opened(small, color_scheme=scheme).page
    contrast = page.evaluate(
        """() => {
          const light = color => {
            const [r, g, b] = color.match(/[0-9.]+/g).map(Number).map(value => {
              const part = value / 255;
              return part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4; });
            return .2126 * r + .7152 * g + .0722 * b; };
          const ground = light(getComputedStyle(document.body).backgroundColor);
          return ["body", ".quiet", "th"].map(selector => {
            const ink = light(getComputedStyle(document.querySelector(selector)).color);
            return (Math.max(ink, ground) + .05) / (Math.min(ink, ground) + .05); });
        }"""
    )
    assert min(contrast) >= 4.5
